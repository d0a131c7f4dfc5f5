import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, runNode, runSoswap } from '../fixtures/child.js';
import { compilePrograms } from '../fixtures/document.js';

// soswap signatures: from a C header to definitions.

const cwd = t.testdir({
  'more.h': 'typedef enum { LOW = -1, HIGH } level;\n',
  'composite.h': `
    #include <stdint.h>
    #include <stdarg.h>
    #include "more.h"
    #define API(type, name) extern type name
    #ifdef __cplusplus
    extern "C" {
    #endif
    typedef struct { double x, y; } Point;
    typedef union { int32_t integer; float real; uint8_t bytes[4]; } Word;
    typedef struct Grid { int32_t cells[2][3]; Point corners[2]; char name[16]; } Grid;
    typedef struct Node { struct Node *next; const char *text; int (*call)(struct Node *); } Node;
    struct Bits { unsigned one : 1; };
    struct __attribute__((packed)) Packed { char a; int b; };
    #pragma pack(push, 1)
    struct Pragma { char a; int b; };
    #pragma pack(pop)
    typedef int (*Visit)(double x, double y);
    typedef int Compare(const void *one, const void *other);
    struct opaque;
    extern int counter;
    int scale(void);
    double length_squared(Point p) __attribute__((const));
    Point moved(Point p, double by);
    API(int32_t, integer_of(Word));
    Word word_of(float real);
    int32_t sum_of_grid(const Grid *grid);
    struct Grid grid_of(int32_t first);
    void divide(int a, int b, int *quotient, int *remainder);
    char *text_of(int number);
    int each(const Point points[], int count, Visit visit);
    void keep(Visit), *unknown(void);
    int call_kept(double);
    int sum(int count, ...);
    void sort(void *base, unsigned long count, size_t size, Compare compare);
    int compare_numbers(const void *one, const void *other);
    static inline int fail_with(int error) { return error; }
    unsigned slow(const char *, level, struct opaque *, long double *, _Bool, signed char, long long unsigned int);
    #ifdef __cplusplus
    }
    #endif
  `,
  'others.h': `
    #include <stdarg.h>
    struct Bits { unsigned one : 1; };
    struct __attribute__((packed)) Packed { char a; int b; };
    #pragma pack(push, 1)
    typedef struct { char a; int b; } Pragma;
    #pragma pack(pop)
    int scale(long double);
    int slow(struct Bits);
    int sum(struct Packed);
    int sort(Pragma);
    int keep(va_list);
    int each(const struct Bits *, int (*)(va_list));
    this is no C at all;
    double call_kept(double);
  `,
  'broken.h': '#include "nowhere.h"\n',
});
compile('composite.c', join(cwd, 'composite.so'), '-DSCALE=1');
const soswap = (...args: string[]) => runSoswap(['signatures', ...args], { cwd });

t.test('it prints the definitions of what is exported and declared', async (t) => {
  const ended = await soswap('./composite.so', '--header', 'composite.h');
  t.match(ended, exitedCleanly);
  const lines = [
    "  scale: { return: 'int32' },",
    "  divide: { arguments: ['int32', 'int32', 'pointer', 'pointer'] },",
    "  text_of: { arguments: ['int32'], return: 'pointer' },",
    "  slow: { arguments: ['string', 'int32', 'pointer', 'pointer', 'bool', 'int8', 'uint64'], return: 'uint32' },",
    "  fail_with: { arguments: ['int32'], return: 'int32' },",
    "  length_squared: 'double length_squared(Point)', // structure by value",
    "  each: 'int each(Point *, int, Visit *)', // structure, callback",
    "  sort: 'void sort(void *, uint64_t, uint64_t, Compare *)', // callback",
    "  sum: 'int sum(int, ...)', // variadic",
    "  cells: koffi.array(koffi.array('int', 3), 2, 'Array'),",
  ];
  for (const line of lines) t.ok(ended.stdout.split('\n').includes(line), line);
  t.notMatch(ended.stdout, /counter|unknown/);
});

t.test('what neither can pass is listed, with the reason', async (t) => {
  const { stdout } = await soswap('./composite.so', '--header', './others.h');
  const lines = [
    "  call_kept: { arguments: ['float64'], return: 'float64' },",
    '// scale: long double cannot be passed',
    '// slow: struct Bits, whose layout is unknown, cannot be passed',
    '// sum: struct Packed, whose layout is unknown, cannot be passed',
    '// sort: struct Pragma, whose layout is unknown, cannot be passed',
    '// fail_with: not declared in the header',
    "  each: 'int each(Bits *, void *)', // callback",
    "koffi.opaque('Bits');",
  ];
  for (const line of lines) t.ok(stdout.split('\n').includes(line), line);
  t.match(stdout, /^\/\/ keep: \S*va_list\S* cannot be passed$/m);
});

t.test('--output writes a module that compiles, and whose functions run', async (t) => {
  const written = await soswap('./composite.so', '--header', 'composite.h', '-o', 'composite.ts');
  const stdout =
    'wrote composite.ts: 18 functions, 11 of them need koffi; 0 without a definition\n';
  t.match(written, exitedCleanly);
  t.match(
    written.stdout,
    /^wrote composite\.ts: \d+ functions, \d+ of them need koffi; \d+ without/,
    stdout,
  );
  const program = join(cwd, 'program.ts');
  writeFileSync(
    program,
    `import { SoHandle } from 'soswap';
    import { koffiFunctions } from 'soswap/koffi';
    import { definitions, prototypes } from './composite.js';
    const handle = SoHandle.open('./composite.so', definitions);
    const call = koffiFunctions(handle, prototypes);
    const squared: number = call.length_squared({ x: 3, y: 4 });
    const grid = call.grid_of(1) as { cells: Int32Array[] };
    const visited: number = call.each([{ x: 1, y: 2 }], 1, (x: number, y: number) => x + y);
    console.log(squared, grid.cells[1]![2], visited, call.sum(2, 'int', 1, 'int', 2), handle.functions.scale());
    handle.close();`,
  );
  t.same(compilePrograms([program]), []);
  const ended = await runNode(['program.js'], { cwd });
  t.match(ended, { ...exitedCleanly, stdout: '25 6 3 3 1\n' });
});

for (const [library, header] of [
  ['libsqlite3.so.0', '/usr/include/sqlite3.h'],
  ['libz.so.1', '/usr/include/zlib.h'],
] as const) {
  t.test(`${header}`, { skip: existsSync(header) ? false : 'not installed' }, async (t) => {
    const name = `${library.split('.')[0]}.ts`;
    t.match(await soswap(library, '--header', header, '--output', name), exitedCleanly);
    t.same(compilePrograms([join(cwd, name)]), []);
    const ended = await runNode([name.replace('.ts', '.js')], { cwd });
    t.match(ended, { ...exitedCleanly, stdout: '' }, 'koffi takes the types');
    const text = readFileSync(join(cwd, name), 'utf8');
    t.ok([...text.matchAll(/^ {2}\w+: [{']/gm)].length > 70);
  });
}

t.test('mistakes are named', async (t) => {
  const header = ['--header', 'composite.h'];
  const mistakes: [args: string[], code: number, named: RegExp][] = [
    [['./composite.so'], 2, /--header/],
    [['./nowhere.so', ...header], 1, /nowhere\.so/],
    [['./composite.so', '--header', 'nowhere.h'], 1, /nowhere\.h/],
    [['./composite.so', '--header', 'broken.h'], 1, /broken\.h.*nowhere\.h/],
    [['./composite.so', '--header', '/usr/include/errno.h'], 1, /errno\.h' declares no function/],
    [['./composite.so', ...header, '--output', '/nowhere/at/all.ts'], 1, /\/nowhere\/at\/all\.ts/],
    [['./composite.so', ...header, '--frobnicate'], 2, /--frobnicate/],
  ];
  for (const [args, code, named] of mistakes) {
    const ended = await soswap(...args);
    t.match(ended, { code, signal: null, stdout: '', stderr: named }, args.join(' '));
    t.match(ended.stderr, /^soswap: .+\n$/, 'one line');
  }
  const env = { CC: 'no-such-compiler' };
  const ended = await runSoswap(['signatures', './composite.so', ...header], { cwd, env });
  t.match(ended, { code: 1, stdout: '', stderr: /no-such-compiler.*set \$CC/ });
});
