import type { CFunction, CRecord, CType } from './c-types.js';

/** The functions of a library, by what can call them. */
export interface Sorted {
  /** Bound functions can. */
  readonly bound: readonly string[];
  /** `soswap/koffi` can. */
  readonly koffi: readonly string[];
  /** Nothing can, or the header does not declare them. */
  readonly neither: readonly string[];
}

/** The text of a module with the definitions of the exported functions. */
export function definitionsText(
  names: readonly string[],
  functions: ReadonlyMap<string, CFunction>,
  { library, header }: { library: string; header: string },
): { text: string; sorted: Sorted } {
  const types = new KoffiTypes();
  const bound: string[] = [];
  const koffi: string[] = [];
  const neither: string[] = [];
  const boundLines: string[] = [];
  const koffiLines: string[] = [];
  const otherLines: string[] = [];
  for (const name of names) {
    const declared = functions.get(name);
    const obstacle = declared === undefined ? 'not declared in the header' : obstacleOf(declared);
    if (declared === undefined || obstacle !== undefined) {
      neither.push(name);
      otherLines.push(`// ${name}: ${obstacle}`);
      continue;
    }
    const why = whyKoffi(declared);
    if (why === undefined) {
      bound.push(name);
      boundLines.push(`  ${key(name)}: ${boundDefinition(declared)},`);
    } else {
      koffi.push(name);
      koffiLines.push(`  ${key(name)}: ${quoted(types.prototype(name, declared))}, // ${why}`);
    }
  }
  const parts = [
    `// Made by \`soswap signatures\` of ${oneLine(library)}, from ${oneLine(header)}. Check what the header does not say: whether a`,
    '// pointer leads to one value or to many, and who frees it.',
    '',
    ...(koffi.length > 0 ? ["import koffi from 'koffi';"] : []),
    "import type { Definitions } from 'soswap';",
    ...(koffi.length > 0 ? ["import type { KoffiPrototypes } from 'soswap/koffi';"] : []),
    '',
    '/** For SoHandle.open(). */',
    'export const definitions = {',
    ...boundLines,
    '} as const satisfies Definitions;',
    ...(koffi.length > 0
      ? [
          '',
          ...types.lines,
          '',
          '/** For koffiFunctions(): what bound functions do not pass. */',
          'export const prototypes = {',
          ...koffiLines,
          '} as const satisfies KoffiPrototypes;',
        ]
      : []),
    ...(otherLines.length > 0 ? ['', '// Exported, but not defined here:', ...otherLines] : []),
    '',
  ];
  return { text: parts.join('\n'), sorted: { bound, koffi, neither } };
}

const oneLine = (text: string) => text.replaceAll(/\s+/g, ' ');
const quoted = (text: string) => `'${text.replaceAll(/['\\]/g, '\\$&')}'`;
const key = (name: string) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : quoted(name));

/** Why neither soswap nor koffi can pass it. */
function obstacleOf(called: CFunction): string | undefined {
  const other = [called.result, ...called.parameters]
    .map(otherIn)
    .find((each) => each !== undefined);
  return other && `${oneLine(other)} cannot be passed`;
}

function otherIn(type: CType): string | undefined {
  if (type.kind === 'other') return type.text;
  if (type.kind !== 'record') return undefined;
  const { kind, name, members } = type.record;
  if (members === undefined) return `${kind} ${name}, whose layout is unknown,`;
  return members
    .map((member) => otherIn(elementOf(member.type)))
    .find((each) => each !== undefined);
}

const elementOf = (type: CType): CType => (type.kind === 'array' ? elementOf(type.of) : type);

/** What of it a bound function does not pass. */
function whyKoffi({ result, parameters, variadic }: CFunction): string | undefined {
  const all = [result, ...parameters];
  const pointees = all.map((type) => (type.kind === 'pointer' ? type.to : type));
  const reasons = [
    variadic && 'variadic',
    all.some((type) => type.kind === 'record') && 'structure by value',
    pointees.some(
      (type, index) => type.kind === 'record' && all[index] !== type && isKnown(type),
    ) && 'structure',
    pointees.some((type) => type.kind === 'function') && 'callback',
  ].filter((reason) => reason !== false);
  return reasons.length > 0 ? reasons.join(', ') : undefined;
}

const isKnown = (type: CType) => type.kind === 'record' && otherIn(type) === undefined;

function boundDefinition({ result, parameters }: CFunction): string {
  const fields: string[] = [];
  if (parameters.length > 0) {
    fields.push(`arguments: [${parameters.map((type) => quoted(boundType(type))).join(', ')}]`);
  }
  if (result.kind !== 'void') {
    // What is not const may have to be freed, and a string is a copy.
    const isText = isConstantText(result);
    fields.push(`return: ${quoted(isText ? 'string' : boundType(result))}`);
  }
  return fields.length > 0 ? `{ ${fields.join(', ')} }` : '{}';
}

function boundType(type: CType): string {
  if (type.kind === 'scalar') return type.name;
  return isConstantText(type) ? 'string' : 'pointer';
}

function isConstantText(type: CType): boolean {
  if (type.kind !== 'pointer' || type.to.kind !== 'scalar') return false;
  return type.to.name === 'char' && type.to.constant;
}

/** The types of koffi that prototypes name, each defined once, before it is used. */
class KoffiTypes {
  readonly lines: string[] = [];
  readonly #names = new Map<object, string>();
  readonly #used = new Set<string>();

  prototype(name: string, { result, parameters, variadic }: CFunction): string {
    const list = parameters.map((type, index) => this.#text(type, `${name}_argument_${index + 1}`));
    const all = variadic ? [...list, '...'] : list;
    return `${this.#text(result, `${name}_result`)} ${name}(${all.join(', ')})`;
  }

  /** @param hint A name for what has none. */
  #text(type: CType, hint: string): string {
    switch (type.kind) {
      case 'scalar':
        return `${type.constant ? 'const ' : ''}${scalarText(type.name)}`;
      case 'pointer':
        return this.#pointer(type.to, hint);
      case 'record':
        return this.#record(type.record, hint);
      case 'array':
        return this.#pointer(type.of, hint);
      default:
        return 'void';
    }
  }

  #pointer(to: CType, hint: string): string {
    const isOther = to.kind === 'other' || (to.kind === 'function' && obstacleOf(to) !== undefined);
    if (isOther || (to.kind === 'function' && to.variadic)) return 'void *';
    if (to.kind === 'function') return `${this.#function(to, hint)} *`;
    return `${this.#text(to, hint)} *`.replace('* *', '**');
  }

  #function(type: CFunction, hint: string): string {
    return this.#once(type, type.name ?? hint, (name) => {
      this.lines.push(`koffi.proto(${quoted(this.prototype(name, type))});`);
    });
  }

  #record(record: CRecord, hint: string): string {
    return this.#once(record, record.name || hint, (name) => {
      const { kind, members } = record;
      if (members === undefined || otherIn({ kind: 'record', record }) !== undefined) {
        this.lines.push(`koffi.opaque(${quoted(name)});`);
        return;
      }
      const fields = members.map((member) => {
        return `  ${key(member.name)}: ${this.#member(member.type, name)},`;
      });
      this.lines.push(`koffi.${kind}(${quoted(name)}, {`, ...fields, '});');
    });
  }

  /** A member is written as an expression; a pointer to a structure in it as `void *`, for that may be itself. */
  #member(type: CType, of: string): string {
    if (type.kind === 'array') {
      const hint = type.of.kind === 'array' ? ", 'Array'" : ''; // koffi 3.3 reads nested ones wrongly otherwise
      return `koffi.array(${this.#member(type.of, of)}, ${type.length}${hint})`;
    }
    const isPlain =
      type.kind !== 'pointer' || (type.to.kind === 'scalar' && type.to.name === 'char');
    return quoted(isPlain ? this.#text(type, of) : 'void *');
  }

  #once(of: object, wanted: string, define: (name: string) => void): string {
    const known = this.#names.get(of);
    if (known !== undefined) return known;
    let name = wanted;
    while (this.#used.has(name)) name += '_';
    this.#used.add(name);
    this.#names.set(of, name);
    define(name);
    return name;
  }
}

const scalarTexts: Readonly<Record<string, string>> = {
  bool: 'bool',
  char: 'char',
  int32: 'int',
  uint32: 'unsigned int',
  float32: 'float',
  float64: 'double',
};

const scalarText = (name: string) => scalarTexts[name] ?? `${name}_t`;
