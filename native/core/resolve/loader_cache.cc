#include "core/resolve/loader_cache.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string_view>

#include "core/elf/view.h"

namespace soswap {
namespace {

// Measured against files that ldconfig of glibc 2.36 wrote. Offsets of strings count from the
// magic, those of extensions from the beginning of the file.
constexpr std::string_view kMagic = "glibc-ld.so.cache1.1";
constexpr std::string_view kOldMagic = "ld.so-1.7.0";

struct OldHeader {
  std::array<char, 12> magic;
  uint32_t count;
};
constexpr size_t kOldEntrySize = 12;

struct Header {
  std::array<char, 20> magic;
  uint32_t count;
  uint32_t strings_size;
  uint32_t flags;
  uint32_t extensions;
  std::array<uint32_t, 3> reserved;
};

struct Entry {
  uint32_t flags;
  uint32_t name;
  uint32_t path;
  uint32_t os_version;
  uint64_t hardware;
};

struct ExtensionHeader {
  uint32_t magic;
  uint32_t count;
};
constexpr uint32_t kExtensionMagic = 0xeaa42174;

struct Extension {
  uint32_t tag;
  uint32_t flags;
  uint32_t offset;
  uint32_t size;
};
constexpr uint32_t kSubdirectoryNames = 1;

// An entry from a glibc-hwcaps subdirectory: bit 62 is set and the low half counts through the
// names.
constexpr uint64_t kFromSubdirectory = uint64_t{1} << 62;

// "libc6" and the machine, as ldconfig -p prints them.
#if defined(__x86_64__)
constexpr uint32_t kThisMachine = 0x0303;
#elif defined(__aarch64__)
constexpr uint32_t kThisMachine = 0x0a03;
#else
constexpr uint32_t kThisMachine = 0x0003;
#endif

constexpr size_t kUnusable = std::numeric_limits<size_t>::max();

bool StartsWith(const elf::View& view, std::string_view magic) {
  return view.size() >= magic.size() && view.Text(0).substr(0, magic.size()) == magic;
}

elf::View SkipOldFormat(const elf::View& file) {
  if (!StartsWith(file, kOldMagic)) return file;
  uint64_t size = sizeof(OldHeader) + uint64_t{file.Read<OldHeader>(0).count} * kOldEntrySize;
  size = (size + alignof(Entry) - 1) / alignof(Entry) * alignof(Entry);
  return size < file.size() ? file.Part(size, file.size() - size) : elf::View();
}

elf::View FindSubdirectoryNames(const elf::View& file, const Header& header) {
  if (header.extensions == 0) return {};
  const auto extensions = file.Read<ExtensionHeader>(header.extensions);
  if (extensions.magic != kExtensionMagic) return {};
  const uint64_t first = uint64_t{header.extensions} + sizeof(ExtensionHeader);
  for (uint32_t i = 0; i < extensions.count; ++i) {
    const auto extension = file.Read<Extension>(first + uint64_t{i} * sizeof(Extension));
    if (extension.tag == kSubdirectoryNames) return file.Part(extension.offset, extension.size);
  }
  return {};
}

// 0 is best. An entry outside any subdirectory comes last.
size_t Rank(const elf::View& cache, const elf::View& names, uint64_t hardware,
            const std::vector<std::string>& subdirectories) {
  if (hardware == 0) return subdirectories.size();
  const uint64_t index = hardware & std::numeric_limits<uint32_t>::max();
  if ((hardware & kFromSubdirectory) == 0 || index >= names.Count<uint32_t>()) return kUnusable;
  const std::string_view name = cache.Text(names.At<uint32_t>(index));
  const auto found = std::find(subdirectories.begin(), subdirectories.end(), name);
  return found == subdirectories.end() ? kUnusable
                                       : static_cast<size_t>(found - subdirectories.begin());
}

std::optional<std::string> Find(const elf::View& file, const std::string& name,
                                const std::vector<std::string>& subdirectories) {
  const elf::View cache = SkipOldFormat(file);
  if (!StartsWith(cache, kMagic)) return std::nullopt;
  const auto header = cache.Read<Header>(0);
  const elf::View entries = cache.Part(sizeof(Header), uint64_t{header.count} * sizeof(Entry));
  const elf::View names = FindSubdirectoryNames(file, header);
  std::optional<std::string> best;
  size_t best_rank = kUnusable;
  for (size_t i = 0; i < header.count; ++i) {
    const auto entry = entries.At<Entry>(i);
    if (entry.flags != kThisMachine || cache.Text(entry.name) != name) continue;
    const size_t rank = Rank(cache, names, entry.hardware, subdirectories);
    if (rank >= best_rank) continue;
    best = cache.Text(entry.path);
    best_rank = rank;
  }
  return best;
}

}  // namespace

std::optional<std::string> FindInLoaderCache(std::span<const std::byte> cache,
                                             const std::string& name,
                                             const std::vector<std::string>& subdirectories) {
  try {
    return Find(elf::View(cache, "the loader's cache"), name, subdirectories);
  } catch (const elf::Defect&) {
    return std::nullopt;
  }
}

}  // namespace soswap
