// The libraries of run.js: where each version comes from, and a use of it whose result is checked.

/** npm packages and Debian packages; `directory`: inside of the package. */
const npm = (name, version, directory, file, reports) => ({
  source: 'npm',
  package: name,
  version,
  directory,
  file,
  reports,
});
const debian = (name, version, directory, file) => ({
  source: 'debian',
  package: name,
  version,
  directory,
  file,
});
const lib = 'usr/lib/x86_64-linux-gnu';

function check(what, got, expected) {
  if (got !== expected) throw new Error(`${what}: ${got} instead of ${expected}`);
}

const pointer = () => new BigUint64Array(1);

const duckdb = {
  versions: [
    npm('@duckdb/node-bindings-linux-x64', '1.4.4-r.1', '.', 'libduckdb.so', 'v1.4.4'),
    npm('@duckdb/node-bindings-linux-x64', '1.5.6-r.1', '.', 'libduckdb.so', 'v1.5.6'),
  ],
  definitions: {
    duckdb_library_version: { return: 'string' },
    duckdb_open: { arguments: ['pointer', 'buffer'], return: 'int32' },
    duckdb_connect: { arguments: ['pointer', 'buffer'], return: 'int32' },
    duckdb_query: { arguments: ['pointer', 'string', 'buffer'], return: 'int32' },
    duckdb_value_int64: { arguments: ['buffer', 'uint64', 'uint64'], return: 'int64' },
    duckdb_destroy_result: { arguments: ['buffer'] },
    duckdb_disconnect: { arguments: ['buffer'] },
    duckdb_close: { arguments: ['buffer'] },
  },
  async use(call, { reports }) {
    check('version', await call.duckdb_library_version(), reports);
    const [database, connection] = [pointer(), pointer()];
    const result = new Uint8Array(64);
    check('open', await call.duckdb_open(0n, database), 0);
    check('connect', await call.duckdb_connect(database[0], connection), 0);
    const query = 'select sum(i * 2)::bigint from range(1000000) t(i)';
    check('query', await call.duckdb_query(connection[0], query, result), 0);
    check('sum', await call.duckdb_value_int64(result, 0n, 0n), 999999000000n);
    await call.duckdb_destroy_result(result);
    await call.duckdb_disconnect(connection);
    await call.duckdb_close(database);
  },
};

const openblas = {
  // Debian has one version.
  versions: [
    debian(
      'libopenblas0-pthread',
      '0.3.21+ds-4',
      `${lib}/openblas-pthread`,
      'libopenblasp-r0.3.21.so',
    ),
  ],
  needs: [
    debian('libgfortran5', '12.2.0-14+deb12u1', lib),
    debian('libquadmath0', '12.2.0-14+deb12u1', lib),
  ],
  definitions: {
    cblas_dgemm: {
      arguments: [
        ...['int32', 'int32', 'int32', 'int32', 'int32', 'int32', 'float64'],
        ...['buffer', 'int32', 'buffer', 'int32', 'float64', 'buffer', 'int32'],
      ],
    },
    openblas_get_num_threads: { return: 'int32' },
  },
  async use(call) {
    const n = 256; // so large that it uses its threads
    const [a, b, c] = [1, 2, 0].map((value) => new Float64Array(n * n).fill(value));
    const [rowMajor, asItIs] = [101, 111];
    await call.cblas_dgemm(rowMajor, asItIs, asItIs, n, n, n, 1, a, n, b, n, 0, c, n);
    check('product', Math.min(...c), 2 * n);
    check('product', Math.max(...c), 2 * n);
  },
};

const libvips = {
  versions: [
    npm('@img/sharp-libvips-linux-x64', '1.2.4', 'lib', 'libvips-cpp.so.8.17.3', '8.17.3'),
    npm('@img/sharp-libvips-linux-x64', '1.3.4', 'lib', 'libvips-cpp.so.8.18.7', '8.18.7'),
  ],
  definitions: {
    vips_init: { arguments: ['string'], return: 'int32' },
    vips_version_string: { return: 'string' },
    vips_image_new_from_memory_copy: {
      arguments: ['buffer', 'uint64', 'int32', 'int32', 'int32', 'int32'],
      return: 'pointer',
    },
    // Variable arguments, which end with a null pointer.
    vips_avg: { arguments: ['pointer', 'buffer', 'pointer'], return: 'int32' },
    g_object_unref: { arguments: ['pointer'] },
    vips_shutdown: {},
  },
  async use(call, { reports }) {
    check('init', await call.vips_init('campaign'), 0);
    check('version', await call.vips_version_string(), reports);
    const [width, height] = [512, 512];
    const pixels = new Uint8Array(width * height).fill(7);
    const size = BigInt(pixels.length);
    const image = await call.vips_image_new_from_memory_copy(pixels, size, width, height, 1, 0);
    const average = new Float64Array(1);
    check('avg', await call.vips_avg(image, average, 0n), 0);
    check('average', average[0], 7);
    await call.g_object_unref(image);
  },
  // Ends threads of it, as a program must before it unmaps the library; others of its GLib stay.
  leave: (call) => call.vips_shutdown(),
};

const string = (text) => [text.length, ...Buffer.from(text)];
const field = (number, bytes) => [number * 8 + 2, bytes.length, ...bytes];
const value = (name) =>
  // ValueInfoProto: name, type { tensor_type { elem_type: float, shape { dim { dim_value: 4 } } } }
  [0x0a, ...string(name), ...field(2, field(1, [8, 1, ...field(2, field(1, [8, 4]))]))];
/** A model in the format of ONNX, IR version 8, opset 13: y = x + x, of four numbers. */
const model = Uint8Array.from([
  ...[8, 8],
  ...field(7, [
    ...field(1, [
      ...[0x0a, ...string('x')],
      ...[0x0a, ...string('x')],
      ...[0x12, ...string('y')],
      ...[0x22, ...string('Add')],
    ]),
    ...[0x12, ...string('g')],
    ...field(11, value('x')),
    ...field(12, value('y')),
  ]),
  ...field(8, [0x0a, 0, 0x10, 13]),
]);

let helper;
const onnxruntime = {
  versions: ['1.26.0', '1.27.0'].map((version) =>
    npm('onnxruntime-node', version, 'bin/napi-v6/linux/x64', 'libonnxruntime.so.1', version),
  ),
  definitions: { OrtGetApiBase: { return: 'pointer' } },
  async use(call, { reports }, context) {
    const run = { arguments: ['pointer', 'buffer', 'uint64', 'buffer', 'buffer', 'int64'] };
    helper ??= [false, true].map((nonblocking) =>
      context.SoHandle.open(context.helper('onnx.c'), {
        version: { arguments: ['pointer'], return: 'string' },
        run: { ...run, return: 'int32', nonblocking },
      }),
    );
    const got = call.OrtGetApiBase();
    const [here, aside] = helper;
    const { functions } = got instanceof Promise ? aside : here;
    const base = await got;
    check('version', functions.version(base), reports);
    const [x, y] = [Float32Array.of(1, 2, 3, 4), new Float32Array(4)];
    check('run', await functions.run(base, model, BigInt(model.length), x, y, 4n), 0);
    check('sum', y.join(), '2,4,6,8');
  },
};

export const libraries = { duckdb, openblas, libvips, onnxruntime };
