#include <elf.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "core/base/page.h"
#include "core/elf/file.h"
#include "core/elf/machine.h"
#include "core/elf/notes.h"
#include "core/elf/relocations.h"

namespace soswap {
namespace {

using elf::Defect;
using elf::kOwnByteOrder;
using elf::kOwnMachine;
using elf::Malformed;
using elf::View;

// The loader copies the program headers to the stack of the thread that loads.
constexpr std::size_t kMostProgramHeaders = 4096;
// If thread-local memory cannot be allocated when a thread first needs it, the process ends.
constexpr std::uint64_t kMostThreadLocal = std::uint64_t{1} << 30;
// dlopen(3) also copies the names of needed objects to the stack, and cannot open a longer one.
constexpr std::size_t kLongestName = 4096;

std::string NameOfMachine(std::uint16_t machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86-64";
    case EM_AARCH64:
      return "AArch64";
    case EM_386:
      return "i386";
    case EM_ARM:
      return "ARM";
    case EM_RISCV:
      return "RISC-V";
    case EM_PPC:
      return "PowerPC";
    case EM_PPC64:
      return "PowerPC64";
    case EM_S390:
      return "S/390";
    case EM_MIPS:
      return "MIPS";
    case EM_SPARCV9:
      return "SPARC V9";
    case 258:  // EM_LOONGARCH, which older <elf.h> lack
      return "LoongArch";
    default:
      return "machine " + std::to_string(machine);
  }
}

std::string Describe(std::uint16_t machine, unsigned char word_class, unsigned char byte_order) {
  std::string text = NameOfMachine(machine);
  if (word_class != ELFCLASS64) text += word_class == ELFCLASS32 ? " (32-bit)" : " (odd class)";
  if (byte_order != kOwnByteOrder) text += " (other byte order)";
  return text;
}

void CheckMagic(std::span<const std::byte> bytes) {
  if (bytes.empty()) throw Defect(Fault::kTruncated, "the file is empty");
  const std::size_t length = std::min<std::size_t>(bytes.size(), SELFMAG);
  if (std::memcmp(bytes.data(), ELFMAG, length) != 0) {
    throw Defect(Fault::kNotElf, "not an ELF file");
  }
}

void CheckMachine(const View& file) {
  const auto word_class = file.At<unsigned char>(EI_CLASS);
  const auto byte_order = file.At<unsigned char>(EI_DATA);
  auto machine = file.Read<std::uint16_t>(offsetof(Elf64_Ehdr, e_machine));
  if (byte_order != kOwnByteOrder) {
    machine = static_cast<std::uint16_t>((machine << 8) | (machine >> 8));
  }
  if (machine == kOwnMachine && word_class == ELFCLASS64 && byte_order == kOwnByteOrder) return;
  throw Defect(Fault::kWrongMachine, "built for " + Describe(machine, word_class, byte_order) +
                                         ", this process runs " + NameOfMachine(kOwnMachine));
}

void CheckType(std::uint16_t type) {
  switch (type) {
    case ET_DYN:
      return;
    case ET_REL:
      throw Defect(Fault::kNotSharedObject, "an object file that has not been linked");
    case ET_EXEC:
      throw Defect(Fault::kNotSharedObject, "a program, not a shared object");
    case ET_CORE:
      throw Defect(Fault::kNotSharedObject, "a core dump, not a shared object");
    default:
      throw Defect(Fault::kNotSharedObject,
                   "not a shared object (type " + std::to_string(type) + ")");
  }
}

[[noreturn]] void Truncated(std::uint64_t size, std::uint64_t described) {
  throw Defect(Fault::kTruncated, "holds " + std::to_string(size) + " of the " +
                                      std::to_string(described) + " bytes its headers describe");
}

std::uint64_t EndOf(std::uint64_t offset, std::uint64_t size, const char* what) {
  std::uint64_t end = 0;
  if (__builtin_add_overflow(offset, size, &end)) {
    Malformed(std::string(what) + " ends past the largest possible file");
  }
  return end;
}

}  // namespace

// One parse. Each step relies on the steps before it.
class ElfFile::Parser final {
 public:
  explicit Parser(ElfFile& file) : file_(file), view_(file.bytes_, "the file") {}

  void Run() {
    ReadHeader();
    ReadProgramHeaders();
    MapSegments();
    ReadDynamic();
    RefusePrograms();
    CheckProgramHeaders();
    const std::uint64_t tls_size = tls_ ? tls_->p_memsz : 0;
    file_.symbols_ = elf::Symbols(file_.memory_, file_.dynamic_, tls_size);
    file_.symbols_offset_ = file_.memory_.FileOffset(*file_.dynamic_.Find(DT_SYMTAB), "DT_SYMTAB");
    ReadStrings();
    ReadFlags();
    ReadNotes();
    file_.referred_ =
        elf::CheckStartup({file_.memory_, file_.dynamic_, file_.symbols_, RangeOf(dynamic_header_),
                           LoadedProgramHeaders(), relro_, tls_.has_value(),
                           file_.facts_.flags.text_relocations, file_.facts_.flags.bind_now});
  }

 private:
  static elf::Range RangeOf(const Elf64_Phdr& header) { return {header.p_vaddr, header.p_memsz}; }

  void ReadHeader() {
    CheckMagic(file_.bytes_);
    if (view_.size() >= offsetof(Elf64_Ehdr, e_version)) {
      CheckMachine(view_);
      CheckType(view_.Read<std::uint16_t>(offsetof(Elf64_Ehdr, e_type)));
    }
    if (view_.size() < sizeof(Elf64_Ehdr)) Truncated(view_.size(), sizeof(Elf64_Ehdr));
    header_ = view_.Read<Elf64_Ehdr>(0);
    if (header_.e_version != EV_CURRENT || header_.e_ident[EI_VERSION] != EV_CURRENT) {
      Malformed("unknown version of the ELF format");
    }
    file_.facts_.machine = NameOfMachine(header_.e_machine);
  }

  void ReadProgramHeaders() {
    if (header_.e_phnum == 0) Malformed("no program headers");
    if (header_.e_phnum > kMostProgramHeaders) Malformed("too many program headers");
    if (header_.e_phentsize != sizeof(Elf64_Phdr)) {
      Malformed("e_phentsize is " + std::to_string(header_.e_phentsize) + ", not " +
                std::to_string(sizeof(Elf64_Phdr)));
    }
    program_headers_ = {header_.e_phoff, header_.e_phnum * sizeof(Elf64_Phdr)};
    const std::uint64_t end =
        EndOf(header_.e_phoff, program_headers_.size, "the program header table");
    if (end > view_.size()) Truncated(view_.size(), end);
    const View table = view_.Part(header_.e_phoff, program_headers_.size);
    for (std::size_t i = 0; i < header_.e_phnum; ++i) headers_.push_back(table.At<Elf64_Phdr>(i));
    loaded_size_ = std::max<std::uint64_t>(end, sizeof(Elf64_Ehdr));
  }

  void MapSegments() {
    std::vector<elf::Segment> segments;
    for (const Elf64_Phdr& header : headers_) {
      if (header.p_type != PT_LOAD) continue;
      if (header.p_align != 0 && !std::has_single_bit(header.p_align)) {
        Malformed("the alignment of a PT_LOAD is not a power of two");
      }
      const std::uint64_t end = EndOf(header.p_offset, header.p_filesz, "a PT_LOAD");
      if (header.p_filesz > 0) {
        loaded_size_ = std::max(loaded_size_, end);
      }
      segments.push_back(
          {header.p_offset, header.p_filesz, header.p_vaddr, header.p_memsz, header.p_flags});
    }
    if (segments.empty()) Malformed("nothing to load: no PT_LOAD");
    if (loaded_size_ > view_.size()) {
      Truncated(view_.size(), loaded_size_);
    }
    file_.memory_ = elf::Memory(file_.bytes_, std::move(segments));
    const elf::Segment& first = file_.memory_.segments().front();
    const elf::Segment& last = file_.memory_.segments().back();
    file_.facts_.memory_size =
        PageCeiling(last.address + last.memory_size) - PageFloor(first.address);
  }

  // The only header of this type, if there is one. Empty headers do not count.
  std::optional<Elf64_Phdr> Only(std::uint32_t type, const char* name) const {
    std::optional<Elf64_Phdr> found;
    for (const Elf64_Phdr& header : headers_) {
      if (header.p_type != type || header.p_memsz == 0) continue;
      if (found) Malformed(std::string("more than one ") + name);
      found = header;
    }
    return found;
  }

  // The offset and the address of the header must be one place according to the segments.
  void CheckPlace(const Elf64_Phdr& header, const char* name) const {
    if (header.p_filesz == 0) return;
    file_.memory_.Read(header.p_vaddr, header.p_filesz, name);
    if (file_.memory_.FileOffset(header.p_vaddr, name) != header.p_offset) {
      Malformed(std::string(name) + " and the PT_LOAD that holds it name different file offsets");
    }
  }

  void ReadDynamic() {
    const auto header = Only(PT_DYNAMIC, "PT_DYNAMIC");
    if (!header) Malformed("not linked dynamically: no PT_DYNAMIC");
    dynamic_header_ = *header;
    CheckPlace(*header, "PT_DYNAMIC");
    file_.dynamic_ =
        elf::Dynamic(file_.memory_.Read(header->p_vaddr, header->p_filesz, "PT_DYNAMIC"));
    file_.dynamic_offset_ = file_.memory_.FileOffset(header->p_vaddr, "PT_DYNAMIC");
    // The loader adds the base address to the entries in place, unless this header is read-only.
    if ((header->p_flags & PF_W) == 0) {
      elf::RequireGlibc(35, "a read-only PT_DYNAMIC");
    } else if (!file_.memory_.Holds(header->p_vaddr, header->p_memsz, PF_R | PF_W)) {
      Malformed("PT_DYNAMIC lies outside writable memory");
    }
  }

  // dlopen(3) refuses DF_1_PIE. Linkers that do not set it still give programs DT_DEBUG, which no
  // shared object has, not even one that can be run (libc.so.6 has PT_INTERP).
  void RefusePrograms() const {
    const bool has_interpreter =
        std::any_of(headers_.begin(), headers_.end(),
                    [](const Elf64_Phdr& header) { return header.p_type == PT_INTERP; });
    if ((file_.dynamic_.Find(DT_FLAGS_1).value_or(0) & DF_1_PIE) != 0 ||
        (has_interpreter && file_.dynamic_.Has(DT_DEBUG))) {
      throw Defect(Fault::kNotSharedObject, "a position-independent program, not a shared object");
    }
  }

  void CheckProgramHeaders() {
    tls_ = Only(PT_TLS, "PT_TLS");
    if (tls_) CheckThreadLocal(*tls_);
    file_.facts_.has_tls = tls_.has_value();
    if (const auto header = Only(PT_GNU_RELRO, "PT_GNU_RELRO")) CheckRelro(*header);
    for (const Elf64_Phdr& header : headers_) {
      if (header.p_type == PT_PHDR) CheckOwnTable(header);
      if (header.p_memsz == 0) continue;
      if (header.p_type == PT_GNU_EH_FRAME) CheckPlace(header, "PT_GNU_EH_FRAME");
      if (header.p_type == PT_NOTE || header.p_type == PT_GNU_PROPERTY) {
        elf::CheckProperties(file_.memory_.Read(header.p_vaddr, header.p_memsz, "PT_NOTE"),
                             header.p_align);
      }
    }
  }

  void CheckThreadLocal(const Elf64_Phdr& header) const {
    if (header.p_filesz > header.p_memsz) {
      Malformed("PT_TLS takes more bytes from the file than it has memory for");
    }
    if (!std::has_single_bit(header.p_align)) {
      Malformed("the alignment of PT_TLS is not a power of two");
    }
    if (header.p_memsz > kMostThreadLocal || header.p_align > kMostThreadLocal) {
      Malformed("PT_TLS asks each thread for " + std::to_string(header.p_memsz) + " bytes");
    }
    CheckPlace(header, "PT_TLS");
    // The loader takes the address 0 for "nothing to copy", and yet copies.
    if (header.p_filesz > 0 && header.p_vaddr == 0) {
      Malformed("PT_TLS lies at the start of the file");
    }
  }

  // The loader makes these pages read-only without any check.
  void CheckRelro(const Elf64_Phdr& header) {
    relro_ = RangeOf(header);
    for (const elf::Segment& segment : file_.memory_.segments()) {
      const std::uint64_t end = PageCeiling(segment.address + segment.memory_size);
      const elf::Range pages{segment.address, end - segment.address};
      if ((segment.flags & PF_W) != 0 && pages.Contains(relro_.start, relro_.size)) return;
    }
    Malformed("PT_GNU_RELRO lies outside writable memory");
  }

  // Where dl_iterate_phdr(3) reports the program headers in memory.
  elf::Range LoadedProgramHeaders() const {
    const elf::Range& table = program_headers_;
    for (const elf::Segment& segment : file_.memory_.segments()) {
      if (!elf::Range{segment.offset, segment.file_size}.Contains(table.start, table.size))
        continue;
      if ((segment.flags & PF_R) == 0) Malformed("the program headers cannot be read");
      return {segment.address + (table.start - segment.offset), table.size};
    }
    return {};
  }

  // Unwinders read the table that this header points at.
  void CheckOwnTable(const Elf64_Phdr& header) const {
    const std::uint64_t size = program_headers_.size;
    file_.memory_.Read(header.p_vaddr, size, "PT_PHDR");
    const std::uint64_t offset = file_.memory_.FileOffset(header.p_vaddr, "PT_PHDR");
    if (std::memcmp(file_.bytes_.data() + offset, file_.bytes_.data() + program_headers_.start,
                    size) != 0) {
      Malformed("PT_PHDR is not the address of the program headers");
    }
  }

  std::string StringAt(std::uint64_t offset, const char* name) const {
    if (!file_.symbols_.strings().Has(offset)) {
      Malformed(std::string(name) + " is not in DT_STRTAB");
    }
    return std::string(file_.symbols_.strings().At(offset));
  }

  std::string NameAt(std::uint64_t offset, const char* name) const {
    std::string text = StringAt(offset, name);
    if (text.size() > kLongestName) Malformed(std::string(name) + " is too long for a file name");
    return text;
  }

  void ReadStrings() {
    ElfFacts& facts = file_.facts_;
    for (std::size_t i = 0; i < file_.dynamic_.count(); ++i) {
      const Elf64_Dyn entry = file_.dynamic_.At(i);
      switch (entry.d_tag) {
        case DT_NEEDED:
          facts.needed.push_back(NameAt(entry.d_un.d_val, "DT_NEEDED"));
          break;
        case DT_SONAME:
          facts.soname = NameAt(entry.d_un.d_val, "DT_SONAME");
          break;
        case DT_RUNPATH:
          facts.runpath = StringAt(entry.d_un.d_val, "DT_RUNPATH");
          break;
        case DT_RPATH:
          facts.rpath = StringAt(entry.d_un.d_val, "DT_RPATH");
          break;
        case DT_AUXILIARY:
          NameAt(entry.d_un.d_val, "DT_AUXILIARY");
          break;
        case DT_FILTER:
          NameAt(entry.d_un.d_val, "DT_FILTER");
          break;
        default:
          break;
      }
    }
  }

  void ReadFlags() {
    const elf::Dynamic& dynamic = file_.dynamic_;
    const std::uint64_t flags = dynamic.Find(DT_FLAGS).value_or(0);
    const std::uint64_t flags_1 = dynamic.Find(DT_FLAGS_1).value_or(0);
    ElfFlags& facts = file_.facts_.flags;
    facts.no_delete = (flags_1 & DF_1_NODELETE) != 0;
    facts.symbolic = (flags & DF_SYMBOLIC) != 0 || dynamic.Has(DT_SYMBOLIC);
    facts.text_relocations = (flags & DF_TEXTREL) != 0 || dynamic.Has(DT_TEXTREL);
    facts.bind_now =
        (flags & DF_BIND_NOW) != 0 || (flags_1 & DF_1_NOW) != 0 || dynamic.Has(DT_BIND_NOW);
    facts.static_tls = (flags & DF_STATIC_TLS) != 0;
  }

  void ReadNotes() {
    for (const Elf64_Phdr& header : headers_) {
      if (header.p_type != PT_NOTE || header.p_filesz == 0) continue;
      const auto notes = elf::ReadNotes(
          file_.memory_.Read(header.p_vaddr, header.p_filesz, "PT_NOTE"), header.p_align);
      if (notes.build_id) file_.facts_.build_id = notes.build_id;
      file_.facts_.is_go |= notes.is_go;
    }
    file_.facts_.is_go |= file_.Defines("_cgo_topofstack") || file_.Defines("crosscall2");
  }

  ElfFile& file_;
  View view_;
  Elf64_Ehdr header_{};
  std::vector<Elf64_Phdr> headers_;
  elf::Range program_headers_;     // in the file
  std::uint64_t loaded_size_ = 0;  // bytes of the file, from its start, that the loader may touch
  Elf64_Phdr dynamic_header_{};
  std::optional<Elf64_Phdr> tls_;
  elf::Range relro_;
};

ElfFile::ElfFile(std::span<const std::byte> bytes, std::string subject)
    : bytes_(bytes), subject_(std::move(subject)) {}

ElfFile ElfFile::Parse(std::span<const std::byte> bytes, std::string subject) {
  ElfFile file(bytes, std::move(subject));
  try {
    Parser(file).Run();
  } catch (const elf::Defect& defect) {
    throw Error(defect.fault(), "load", file.subject_, defect.what());
  }
  return file;
}

}  // namespace soswap
