// Damages a shared object in many ways and lets the real loader load whatever ElfFile::Parse
// accepts, each in a child process that may die. Every death is a hole in Parse, or damage that no
// check of the file can find (code, data, the value of a symbol).
//
//   elf_mutation [--lazy] [--seed N] [--count N] library...

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "core/elf/file.h"

namespace {

using Bytes = std::vector<std::byte>;

struct Options {
  int mode = RTLD_NOW;
  std::uint64_t seed = 1;
  std::size_t count = 20000;
  std::vector<std::string> libraries;
};

// Shared with the children: what happened to which damage.
struct Progress {
  std::size_t next;
  std::size_t accepted;
  std::size_t loaded;
  char where[160];
};

struct Mutation {
  std::string description;
  Bytes bytes;
};

Progress* progress = nullptr;
std::uintptr_t loader_start = 0;
std::uintptr_t loader_end = 0;

Bytes ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  const auto* start = reinterpret_cast<const std::byte*>(text.data());
  return Bytes(start, start + text.size());
}

void WriteFile(const std::string& path, const Bytes& bytes) {
  std::ofstream stream(path, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
}

template <typename T>
T Get(const Bytes& bytes, std::size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

// The stretches of the file that the loader reads, by section, and no code or data.
struct Area {
  std::string name;
  std::size_t offset;
  std::size_t size;
};

std::vector<Area> AreasOf(const Bytes& bytes) {
  const auto header = Get<Elf64_Ehdr>(bytes, 0);
  std::vector<Area> areas{{"header", 0, sizeof(header)},
                          {"program headers", header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr)}};
  const auto names =
      Get<Elf64_Shdr>(bytes, header.e_shoff + header.e_shstrndx * sizeof(Elf64_Shdr));
  for (std::size_t i = 1; i < header.e_shnum; ++i) {
    const auto section = Get<Elf64_Shdr>(bytes, header.e_shoff + i * sizeof(Elf64_Shdr));
    const bool is_code = (section.sh_flags & SHF_EXECINSTR) != 0;
    const bool is_table = section.sh_type != SHT_PROGBITS && section.sh_type != SHT_NOBITS;
    if ((section.sh_flags & SHF_ALLOC) == 0 || is_code || !is_table || section.sh_size == 0) {
      continue;
    }
    areas.push_back(
        {reinterpret_cast<const char*>(bytes.data()) + names.sh_offset + section.sh_name,
         section.sh_offset, section.sh_size});
  }
  return areas;
}

template <typename T>
void Put(Bytes& bytes, std::size_t offset, T value) {
  if (bytes.size() - offset >= sizeof(T)) std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

class Mutator final {
 public:
  Mutator(const Bytes& original, std::uint64_t seed)
      : original_(original), areas_(AreasOf(original)), seed_(seed) {}

  // The same number gives the same damage.
  Mutation Make(std::size_t number) const {
    std::mt19937_64 random(seed_ * 1000003 + number);
    const Area& area = areas_[random() % areas_.size()];
    const std::size_t place = random() % area.size;
    Mutation mutation{area.name + "+" + std::to_string(place) + ": ", original_};
    Damage(mutation, area, place, random);
    return mutation;
  }

 private:
  void Damage(Mutation& mutation, const Area& area, std::size_t place,
              std::mt19937_64& random) const {
    const std::size_t offset = area.offset + place;
    const std::size_t word = area.offset + place / 8 * 8;
    Bytes& bytes = mutation.bytes;
    switch (random() % 8) {
      case 0:
      case 1:
        bytes[offset] ^= std::byte{1} << (random() % 8);
        mutation.description += "one bit";
        break;
      case 2:
        bytes[offset] = static_cast<std::byte>(random());
        mutation.description += "one byte";
        break;
      case 3:
        Put(bytes, area.offset + place / 4 * 4, Interesting<std::uint32_t>(random));
        mutation.description += "four bytes";
        break;
      case 4:
        Put(bytes, word, Interesting<std::uint64_t>(random));
        mutation.description += "eight bytes";
        break;
      case 5:
        Put(bytes, word, Get<std::uint64_t>(bytes, word) + random() % 65 - 32);
        mutation.description += "a small step";
        break;
      case 6: {
        const std::size_t size = std::min<std::size_t>(area.size - place, 1 + random() % 256);
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), size, std::byte{0});
        mutation.description += std::to_string(size) + " zero bytes";
        break;
      }
      default: {
        const Area& from = areas_[random() % areas_.size()];
        const std::size_t source = from.offset + random() % from.size / 8 * 8;
        if (source + 8 <= bytes.size()) Put(bytes, word, Get<std::uint64_t>(bytes, source));
        mutation.description += "eight bytes of " + from.name;
        break;
      }
    }
  }

  template <typename T>
  T Interesting(std::mt19937_64& random) const {
    const std::array<std::uint64_t, 10> values{0,
                                               1,
                                               ~std::uint64_t{0},
                                               0x7fffffff,
                                               0x80000000,
                                               std::uint64_t{1} << 63,
                                               original_.size(),
                                               random() % original_.size(),
                                               random() % 64,
                                               random()};
    return static_cast<T>(values[random() % values.size()]);
  }

  const Bytes& original_;
  std::vector<Area> areas_;
  std::uint64_t seed_;
};

void OnCrash(int signal, siginfo_t* info, void* context) {
#if defined(__x86_64__)
  const auto at =
      static_cast<std::uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#else
  const auto at = static_cast<std::uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.pc);
#endif
  const bool in_loader = at >= loader_start && at < loader_end;
  std::snprintf(progress->where, sizeof(progress->where), "signal %d in %s (+0x%lx), address %p",
                signal, in_loader ? "the loader" : "other code",
                in_loader ? at - loader_start : 0UL, info->si_addr);
  _exit(99);
}

int FindLoader(dl_phdr_info* info, std::size_t, void*) {
  if (std::string_view(info->dlpi_name).find("ld-linux") == std::string_view::npos) return 0;
  loader_start = info->dlpi_addr;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type == PT_LOAD) {
      loader_end = std::max(loader_end, info->dlpi_addr + header.p_vaddr + header.p_memsz);
    }
  }
  return 1;
}

void CatchCrashes() {
  static std::array<char, 65536> stack;
  stack_t alternative{};
  alternative.ss_sp = stack.data();
  alternative.ss_size = stack.size();
  sigaltstack(&alternative, nullptr);
  struct sigaction action {};
  action.sa_sigaction = OnCrash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGTRAP}) {
    sigaction(signal, &action, nullptr);
  }
}

// dlopen, a few lookups, which walk the hash table, and dlclose. Nothing of the library is called
// but its own initializers and finalizers.
void Load(const std::string& path, int mode, const std::vector<std::string>& names) {
  void* handle = dlopen(path.c_str(), mode);
  if (handle == nullptr) return;
  ++progress->loaded;
  for (const std::string& name : names) dlsym(handle, name.c_str());
  dlclose(handle);
}

// Works through mutations from progress->next until one kills this process.
[[noreturn]] void RunChild(const Mutator& mutator, std::size_t end, int mode,
                           const std::string& directory, const std::vector<std::string>& names) {
  CatchCrashes();
  if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(98);
  while (progress->next < end) {
    const Mutation mutation = mutator.Make(progress->next);
    try {
      soswap::ElfFile::Parse(mutation.bytes, "mutation");
      ++progress->accepted;
      const std::string path = directory + "/" + std::to_string(progress->next) + ".so";
      WriteFile(path, mutation.bytes);
      alarm(10);
      Load(path, mode, names);
      alarm(0);
      unlink(path.c_str());
    } catch (const soswap::Error&) {
      // Refused, which is what Parse is for.
    }
    ++progress->next;
  }
  _exit(0);
}

// One process each, so that no earlier damage is to blame.
bool DiesAlone(const Mutator& mutator, std::size_t number, int mode, const std::string& directory,
               const std::vector<std::string>& names) {
  progress->next = number;
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) RunChild(mutator, number + 1, mode, directory, names);
  int status = 0;
  waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

std::size_t Examine(const std::string& library, const Options& options,
                    const std::string& directory) {
  const Bytes original = ReadFile(library);
  const auto file = soswap::ElfFile::Parse(original, library);
  std::vector<std::string> names{"no such symbol", "malloc"};
  for (const auto& symbol : file.Exports()) {
    if (names.size() < 20 && symbol.type != soswap::ElfType::kIndirectFunction) {
      names.push_back(symbol.name);
    }
  }
  const Mutator mutator(original, options.seed);
  std::map<std::string, std::size_t> deaths;
  *progress = {};
  while (progress->next < options.count) {
    progress->where[0] = '\0';
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) RunChild(mutator, options.count, options.mode, directory, names);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
    const std::size_t number = progress->next;
    const Progress before = *progress;
    if (DiesAlone(mutator, number, options.mode, directory, names)) {
      const std::string where =
          progress->where[0] != '\0' ? progress->where : "status " + std::to_string(status);
      std::printf("  %zu %s: %s\n", number, mutator.Make(number).description.c_str(),
                  where.c_str());
      ++deaths[where.find("in the loader") != std::string::npos ? "in the loader" : "elsewhere"];
    }
    unlink((directory + "/" + std::to_string(number) + ".so").c_str());
    *progress = before;
    progress->next = number + 1;
  }
  std::printf("%s: %zu mutations, %zu accepted, %zu loaded", library.c_str(), options.count,
              progress->accepted, progress->loaded);
  std::size_t total = 0;
  for (const auto& [where, count] : deaths) {
    std::printf(", %zu died %s", count, where.c_str());
    total += count;
  }
  std::printf("\n");
  std::fflush(stdout);
  return total;
}

Options ParseArguments(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--lazy") {
      options.mode = RTLD_LAZY;
    } else if (argument == "--seed" && i + 1 < count) {
      options.seed = std::stoull(arguments[++i]);
    } else if (argument == "--count" && i + 1 < count) {
      options.count = std::stoull(arguments[++i]);
    } else {
      options.libraries.emplace_back(argument);
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = ParseArguments(argc, argv);
  if (options.libraries.empty()) {
    std::fprintf(stderr, "usage: elf_mutation [--lazy] [--seed N] [--count N] library...\n");
    return 2;
  }
  dl_iterate_phdr(FindLoader, nullptr);
  progress = static_cast<Progress*>(
      mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::string directory = "/tmp/elf-mutation-XXXXXX";
  if (progress == MAP_FAILED || mkdtemp(directory.data()) == nullptr) return 1;
  std::size_t deaths = 0;
  for (const std::string& library : options.libraries) {
    try {
      deaths += Examine(library, options, directory);
    } catch (const soswap::Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      return 1;
    }
  }
  rmdir(directory.c_str());
  return deaths == 0 ? 0 : 1;
}
