{
  'targets': [
    {
      'target_name': 'soswap',
      'sources': ['<!@(ls native/binding/*.cc native/*/*/*.cc)'],
      'dependencies': [
        'call_frame',
        '<!(node -p "require(\'node-addon-api\').targets"):node_addon_api_except_all',
      ],
      'include_dirs': ['native'],
      'defines': [
        'NAPI_VERSION=8',
        # While a worker is being terminated, Node-API cannot throw; without this the process would abort.
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
      ],
      'cflags!': ['-O3'],
      'cflags': ['-O2', '-Wall', '-Wextra', '-Wshadow', '-Werror', '-fvisibility=hidden'],
      'cflags_cc': [
        '-std=gnu++20',
        # Warnings are errors in our code, not in headers that belong to others.
        '-isystem<(node_root_dir)/include/node',
        '-isystem<!(node -p "path.dirname(require.resolve(\'node-addon-api\'))")',
      ],
      'libraries': ['-ldl'],
      # Node.js closes it with each worker, while its threads and what images are bound to go on.
      'ldflags': ['-Wl,-z,nodelete'],
    },
    {
      # On its own, because gyp would give call_frame.S and call_frame.cc the same object file.
      'target_name': 'call_frame',
      'type': 'static_library',
      'sources': ['native/core/call/call_frame.S'],
    },
  ],
}
