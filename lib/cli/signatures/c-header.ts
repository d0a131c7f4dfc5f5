import type { Node, Tree } from 'web-tree-sitter';
import { type CFunction, type CRecord, type CType, cVoid, scalar } from './c-types.js';

/** A name with its type: a variable, a function, a member, a parameter, or what a typedef defines. */
interface Declared {
  readonly name: string;
  readonly type: CType;
}

/** What a preprocessed header declares. The grammar of tree-sitter-c reads it; this only looks names up. */
export class Header {
  readonly functions = new Map<string, CFunction>();

  readonly #typedefs = new Map<string, CType>();
  readonly #records = new Map<string, CRecord>();
  /** #pragma pack is in force, and structures lie in memory in another way. */
  #packed = 0;

  constructor(tree: Tree) {
    this.#readAll(tree.rootNode);
  }

  #readAll(node: Node): void {
    for (const child of node.namedChildren) if (child !== null) this.#read(child);
  }

  #read(node: Node): void {
    switch (node.type) {
      case 'type_definition':
        for (const { name, type } of this.#declared(node)) this.#define(name, type);
        return;
      case 'declaration':
      case 'function_definition':
        for (const { name, type } of this.#declared(node)) {
          if (type.kind === 'function') this.functions.set(name, type);
        }
        return;
      case 'struct_specifier':
      case 'union_specifier':
        this.#base(node, false);
        return;
      case 'linkage_specification':
      case 'declaration_list':
        this.#readAll(node);
        return;
      case 'preproc_call':
        this.#pragma(node.text);
    }
  }

  #pragma(text: string): void {
    const [, argument] = /^#\s*pragma\s+pack\s*\(\s*(.*?)\s*\)/.exec(text) ?? [];
    if (argument === undefined) return;
    if (argument.startsWith('push')) this.#packed++;
    else if (argument.startsWith('pop') || argument === '') {
      this.#packed = Math.max(0, this.#packed - 1);
    } else this.#packed ||= 1;
  }

  #define(name: string, type: CType): void {
    if (type.kind === 'record' && type.record.name === '') type.record.name = name;
    const inner = type.kind === 'pointer' ? type.to : type;
    if (inner.kind === 'function' && inner.name === undefined) {
      const named = { ...inner, name };
      this.#typedefs.set(name, type.kind === 'pointer' ? { kind: 'pointer', to: named } : named);
    } else {
      this.#typedefs.set(name, type);
    }
  }

  /** What a declaration declares. */
  #declared(node: Node): Declared[] {
    const specifier = node.childForFieldName('type');
    if (specifier === null) return [];
    const constant = node.children.some((child) => child?.text === 'const');
    // `typedef struct { … } __attribute__((packed)) Name`
    const attributed = node.children.some(
      (child) => child?.type === 'attribute_specifier' && child.startIndex < declaratorStart(node),
    );
    const base = this.#base(specifier, constant);
    if (attributed && base.kind === 'record') base.record.members = undefined;
    return node
      .childrenForFieldName('declarator')
      .flatMap((declarator) => (declarator === null ? [] : [this.#apply(declarator, base)]));
  }

  /** The type before the declarators. */
  #base(node: Node, constant: boolean): CType {
    const { text } = node;
    switch (node.type) {
      case 'struct_specifier':
      case 'union_specifier':
        return { kind: 'record', record: this.#record(node) };
      case 'enum_specifier':
        return { kind: 'scalar', name: 'int32', constant };
      case 'type_identifier':
      case 'primitive_type':
      case 'sized_type_specifier': {
        if (text === 'void') return cVoid;
        const known = this.#typedefs.get(text);
        if (known?.kind === 'scalar') return { ...known, constant: constant || known.constant };
        if (known !== undefined) return known;
        const name = scalar(text);
        if (name !== undefined) return { kind: 'scalar', name, constant };
      }
    }
    return { kind: 'other', text };
  }

  #record(node: Node): CRecord {
    const name = node.childForFieldName('name')?.text ?? '';
    const kind = node.type === 'union_specifier' ? 'union' : 'struct';
    const key = `${kind} ${name}`;
    const record: CRecord = this.#records.get(key) ?? { kind, name, members: undefined };
    if (name !== '') this.#records.set(key, record);
    const body = node.childForFieldName('body');
    if (body !== null) record.members = this.#members(node, body);
    return record;
  }

  /** `undefined` if koffi cannot describe how they lie in memory. */
  #members(node: Node, body: Node): CRecord['members'] {
    const fields = body.namedChildren.filter((child) => child?.type === 'field_declaration');
    const members = fields.flatMap((field) => (field === null ? [] : this.#declared(field)));
    const isPlain =
      this.#packed === 0 &&
      node.descendantsOfType(['attribute_specifier', 'bitfield_clause', 'ERROR']).length === 0 &&
      // A member without a name: a structure whose members are those of this one.
      fields.every((field) => field?.childForFieldName('declarator') !== null) &&
      members.every(({ type }) => type.kind !== 'array' || type.length !== undefined);
    return isPlain && members.length > 0 ? members : undefined;
  }

  /** The name in a declarator, which may be absent in a parameter, and its type. */
  #apply(node: Node | null, base: CType): Declared {
    if (node === null) return { name: '', type: base };
    const inner = node.childForFieldName('declarator');
    switch (node.type) {
      case 'pointer_declarator':
      case 'abstract_pointer_declarator':
        return this.#apply(inner, { kind: 'pointer', to: base });
      case 'array_declarator':
      case 'abstract_array_declarator': {
        const size = Number(node.childForFieldName('size')?.text ?? Number.NaN);
        const length = Number.isSafeInteger(size) && size > 0 ? size : undefined;
        return this.#apply(inner, { kind: 'array', of: base, length });
      }
      case 'function_declarator':
      case 'abstract_function_declarator':
        return this.#apply(inner, this.#function(node, base));
      case 'identifier':
      case 'type_identifier':
      case 'field_identifier':
      case 'primitive_type': // typedef unsigned int uint32_t
        return { name: node.text, type: base };
      default: {
        // parenthesized_declarator, init_declarator, attributed_declarator
        const next =
          inner ??
          node.namedChildren.find((child) => /declarator|identifier/.test(child?.type ?? ''));
        return this.#apply(next ?? null, base);
      }
    }
  }

  #function(node: Node, result: CType): CFunction {
    const list = node.childForFieldName('parameters')?.namedChildren ?? [];
    const parameters: CType[] = [];
    for (const parameter of list) {
      if (parameter?.type !== 'parameter_declaration') continue;
      const specifier = parameter.childForFieldName('type');
      if (specifier === null) continue;
      const constant = parameter.children.some((child) => child?.text === 'const');
      const declarator = parameter.childForFieldName('declarator');
      parameters.push(decayed(this.#apply(declarator, this.#base(specifier, constant)).type));
    }
    const onlyVoid = parameters.length === 1 && parameters[0]?.kind === 'void';
    return {
      kind: 'function',
      result,
      parameters: onlyVoid ? [] : parameters,
      variadic: list.some((child) => child?.type === 'variadic_parameter'),
    };
  }
}

/** An array and a function are passed as pointers. */
function decayed(type: CType): CType {
  if (type.kind === 'array') return { kind: 'pointer', to: type.of };
  return type.kind === 'function' ? { kind: 'pointer', to: type } : type;
}

function declaratorStart(node: Node): number {
  return node.childForFieldName('declarator')?.startIndex ?? Number.POSITIVE_INFINITY;
}
