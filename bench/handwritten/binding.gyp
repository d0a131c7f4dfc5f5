{
  'targets': [
    {
      'target_name': 'handwritten',
      'sources': ['handwritten.c'],
      'defines': ['NAPI_VERSION=8'],
      'cflags': ['-O2', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
      'libraries': ['-ldl'],
    },
  ],
}
