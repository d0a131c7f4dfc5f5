#include "core/loader/stub_object.h"

#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <tuple>

#include "core/base/error.h"
#include "core/base/limits.h"
#include "core/base/loader_name.h"
#include "core/base/unnamed_file.h"
#include "core/elf/machine.h"

namespace soswap {
namespace {

// The largest page of all supported machines, so that the file suits a kernel with any page size.
constexpr uint64_t kLargestPage = 65536;

#if defined(__x86_64__)
constexpr std::array<Elf64_Word, 3> kRelocations{R_X86_64_64, R_X86_64_GLOB_DAT,
                                                 R_X86_64_JUMP_SLOT};
#else
constexpr std::array<Elf64_Word, 3> kRelocations{R_AARCH64_ABS64, R_AARCH64_GLOB_DAT,
                                                 R_AARCH64_JUMP_SLOT};
#endif

// The fixed part of the file; the dynamic section and the strings follow.
struct Head {
  Elf64_Ehdr header;
  std::array<Elf64_Phdr, 3> segments;
  std::array<Elf64_Sym, 2> symbols;  // the reserved one, and a bound import
  std::array<Elf64_Rela, kRelocations.size()> relocations;
  std::array<Elf64_Xword, kRelocations.size()> words;
  std::array<Elf64_Word, 6> hash;  // one empty bucket, two chain entries, and one for alignment
};
static_assert(sizeof(Head) % alignof(Elf64_Dyn) == 0);

struct Tail {
  std::vector<Elf64_Dyn> dynamic;
  std::string strings = std::string(1, '\0');

  void Add(Elf64_Sxword tag, uint64_t value) {
    Elf64_Dyn entry{};
    entry.d_tag = tag;
    entry.d_un.d_val = value;
    dynamic.push_back(entry);
  }

  void AddString(Elf64_Sxword tag, const std::string& text) {
    Add(tag, strings.size());
    strings.append(text).push_back('\0');
  }
};

Tail MakeTail(const StubRequest& request) {
  Tail tail;
  for (const std::string& name : request.needed) tail.AddString(DT_NEEDED, name);
  if (!request.soname.empty()) tail.AddString(DT_SONAME, request.soname);
  if (!request.filter.empty()) tail.AddString(DT_FILTER, request.filter);
  if (!request.search_path.empty()) {
    tail.AddString(request.path_is_inherited ? DT_RPATH : DT_RUNPATH, request.search_path);
  }
  constexpr size_t kEntriesBelow = 9;
  const uint64_t strings_at =
      sizeof(Head) + (tail.dynamic.size() + kEntriesBelow) * sizeof(Elf64_Dyn);
  tail.Add(DT_STRTAB, strings_at);
  tail.Add(DT_STRSZ, tail.strings.size());
  tail.Add(DT_SYMTAB, offsetof(Head, symbols));
  tail.Add(DT_SYMENT, sizeof(Elf64_Sym));
  tail.Add(DT_HASH, offsetof(Head, hash));
  tail.Add(DT_RELA, offsetof(Head, relocations));
  tail.Add(DT_RELASZ, sizeof(Head::relocations));
  tail.Add(DT_RELAENT, sizeof(Elf64_Rela));
  tail.Add(DT_NULL, 0);
  return tail;
}

Elf64_Ehdr MakeHeader() {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = elf::kOwnByteOrder;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_DYN;
  header.e_machine = elf::kOwnMachine;
  header.e_version = EV_CURRENT;
  header.e_phoff = offsetof(Head, segments);
  header.e_ehsize = sizeof(Elf64_Ehdr);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = std::tuple_size_v<decltype(Head::segments)>;
  return header;
}

// File offsets and addresses are equal in the whole file.
Elf64_Phdr MakeSegment(Elf64_Word type, uint64_t start, uint64_t size, uint64_t alignment) {
  Elf64_Phdr segment{};
  segment.p_type = type;
  // The loader writes into the dynamic section. Nothing here is ever executed.
  segment.p_flags = PF_R | PF_W;
  segment.p_offset = segment.p_vaddr = segment.p_paddr = start;
  segment.p_filesz = segment.p_memsz = size;
  segment.p_align = alignment;
  return segment;
}

template <typename T>
void Append(std::vector<std::byte>& file, std::span<const T> items) {
  const auto bytes = std::as_bytes(items);
  file.insert(file.end(), bytes.begin(), bytes.end());
}

std::vector<std::byte> MakeFile(const StubRequest& request) {
  const Tail tail = MakeTail(request);
  const uint64_t dynamic_size = tail.dynamic.size() * sizeof(Elf64_Dyn);
  const uint64_t size = sizeof(Head) + dynamic_size + tail.strings.size();
  Head head{};
  head.header = MakeHeader();
  head.segments = {MakeSegment(PT_LOAD, 0, size, kLargestPage),
                   MakeSegment(PT_DYNAMIC, sizeof(Head), dynamic_size, alignof(Elf64_Dyn)),
                   // Without this header the loader would make all stacks executable.
                   MakeSegment(PT_GNU_STACK, 0, 0, 16)};
  head.symbols[1] = {.st_name = 0,
                     .st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC),
                     .st_other = STV_HIDDEN,
                     .st_shndx = SHN_ABS,
                     .st_value = request.symbol_value,
                     .st_size = 0};
  for (size_t index = 0; index < kRelocations.size(); ++index) {
    head.relocations[index] = {.r_offset = offsetof(Head, words) + index * sizeof(Elf64_Xword),
                               .r_info = ELF64_R_INFO(Elf64_Xword{1}, kRelocations[index]),
                               .r_addend = 0};
  }
  head.hash = {1, 2, 0, 0, 0};
  std::vector<std::byte> file;
  file.reserve(size);
  Append(file, std::span<const Head>(&head, 1));
  Append(file, std::span<const Elf64_Dyn>(tail.dynamic));
  Append(file, std::span<const char>(tail.strings));
  return file;
}

FileDescriptor Store(const std::vector<std::byte>& bytes) {
  constexpr const char* kName = "soswap-dependencies";
  FileDescriptor file = CreateUnnamedFile(kName, Storage::kMemory, FileUse::kData);
  if (!MayHaveFileOf(bytes.size())) {
    throw Error(Fault::kSystem, "write", kName, DescribeWithLimit(EFBIG), EFBIG);
  }
  if (write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    throw Error(Fault::kSystem, "write", kName, std::strerror(errno), errno);
  }
  return file;
}

}  // namespace

StubFile::StubFile(const StubRequest& request)
    : file_(Store(MakeFile(request))), loader_name_(NewLoaderName(file_.get())) {}

StubObject::StubObject(const StubRequest& request, int mode) : file_(request) {
  handle_.reset(dlopen(loader_name().c_str(), mode));
  if (handle_ == nullptr) refusal_ = LoaderText();
}

std::vector<uintptr_t> StubObject::Words() const {
  link_map* map = nullptr;
  if (handle_ == nullptr || dlinfo(handle_.get(), RTLD_DI_LINKMAP, &map) != 0) return {};
  const auto* words = reinterpret_cast<const uintptr_t*>(map->l_addr + offsetof(Head, words));
  return {words, words + kRelocations.size()};
}

}  // namespace soswap
