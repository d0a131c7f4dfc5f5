{
  'targets': [
    {
      'target_name': 'handwritten',
      'sources': ['handwritten.c'],
      'defines': ['NAPI_VERSION=8'],
      'cflags': ['-O2', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
      'libraries': ['-ldl'],
    },
    {
      'target_name': 'unchecked',
      'sources': ['unchecked.cc'],
      'include_dirs': ['../../native'],
      'cflags': ['-O2', '-Wall', '-Wextra', '-fvisibility=hidden'],
      'libraries': ['-ldl'],
    },
  ],
}
