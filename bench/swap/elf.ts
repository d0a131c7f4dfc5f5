// Where things are in a 64-bit little-endian ELF file, elf(5).
const header = { programHeaders: 32, sectionHeaders: 40, programCount: 56, sectionCount: 60 };
const programHeader = { size: 56, type: 0, offset: 8, address: 16, fileSize: 32 };
const sectionHeader = { size: 64, type: 4, offset: 24, length: 32, link: 40 };
const symbolEntry = { size: 24, name: 0, info: 4, section: 6, address: 8 };
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const SHT_DYNSYM = 11;
const STT_OBJECT = 1;
const STT_FUNC = 2;
const DT_FLAGS_1 = 0x6ffffffb;
const DF_1_NODELETE = 8n;

/** A symbol that dlsym(3) finds. */
interface ElfSymbol {
  readonly name: string;
  /** Relative to the base address. */
  readonly address: number;
  readonly isFunction: boolean;
}

/** As much of a library as it takes to patch it. */
export class Elf {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Functions and data with global binding, each name once. */
  symbols(): ElfSymbol[] {
    const sections = this.#sections();
    const table = sections.find(({ type }) => type === SHT_DYNSYM);
    if (table === undefined) throw new Error('the library has no section .dynsym');
    const strings = sections[table.link]!.offset;
    const found = new Map<string, ElfSymbol>();
    for (let at = table.offset; at < table.offset + table.length; at += symbolEntry.size) {
      const info = this.#bytes.readUInt8(at + symbolEntry.info);
      const [binding, type] = [info >> 4, info & 15];
      const defined = this.#bytes.readUInt16LE(at + symbolEntry.section) !== 0;
      if (!defined || binding !== 1 || (type !== STT_OBJECT && type !== STT_FUNC)) continue;
      const name = this.#text(strings + this.#bytes.readUInt32LE(at + symbolEntry.name));
      const address = this.#word(at + symbolEntry.address);
      found.set(name, { name, address, isFunction: type === STT_FUNC });
    }
    return [...found.values()];
  }

  /** Where in the file an address is loaded from. */
  offsetOf(address: number): number {
    const segment = this.#segments(PT_LOAD).find(
      (each) => address >= each.address && address < each.address + each.fileSize,
    );
    if (segment === undefined) throw new Error(`nothing of the file is loaded at ${address}`);
    return address - segment.address + segment.offset;
  }

  /** As if it had been linked without `-z nodelete`. */
  clearNoDelete(): void {
    for (const { offset, fileSize } of this.#segments(PT_DYNAMIC)) {
      for (let at = offset; at < offset + fileSize; at += 16) {
        if (this.#word(at) !== DT_FLAGS_1) continue;
        this.#bytes.writeBigUInt64LE(this.#bytes.readBigUInt64LE(at + 8) & ~DF_1_NODELETE, at + 8);
      }
    }
  }

  #segments(type: number) {
    const start = this.#word(header.programHeaders);
    return Array.from({ length: this.#bytes.readUInt16LE(header.programCount) }, (_, index) => {
      const at = start + index * programHeader.size;
      return {
        type: this.#bytes.readUInt32LE(at + programHeader.type),
        offset: this.#word(at + programHeader.offset),
        address: this.#word(at + programHeader.address),
        fileSize: this.#word(at + programHeader.fileSize),
      };
    }).filter((segment) => segment.type === type);
  }

  #sections() {
    const start = this.#word(header.sectionHeaders);
    return Array.from({ length: this.#bytes.readUInt16LE(header.sectionCount) }, (_, index) => {
      const at = start + index * sectionHeader.size;
      return {
        type: this.#bytes.readUInt32LE(at + sectionHeader.type),
        offset: this.#word(at + sectionHeader.offset),
        length: this.#word(at + sectionHeader.length),
        link: this.#bytes.readUInt32LE(at + sectionHeader.link),
      };
    });
  }

  #word(at: number): number {
    return Number(this.#bytes.readBigUInt64LE(at));
  }

  #text(at: number): string {
    return this.#bytes.toString('utf8', at, this.#bytes.indexOf(0, at));
  }
}
