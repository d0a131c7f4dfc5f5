#include "core/life/life.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include "core/base/error.h"
#include "core/life/hook_log.h"

namespace soswap {
namespace {

constexpr std::array<std::string_view, 3> kHooks = {"soswap_save", "soswap_load", "soswap_unload"};

// Where the library itself has what it exports by this name; 0 if it exports none of this type.
uint64_t Find(const ElfFile& elf, std::string_view name, unsigned type, uint64_t size) {
  const elf::Symbols& symbols = elf.symbols();
  const auto index = symbols.Find(name);
  if (!index) return 0;
  const Elf64_Sym symbol = symbols.At(*index);
  if (ELF64_ST_TYPE(symbol.st_info) != type || symbol.st_shndx == SHN_ABS) return 0;
  const uint32_t flags = type == STT_FUNC ? PF_X : PF_R;
  return elf.memory().Holds(symbol.st_value, size, flags) ? symbol.st_value : 0;
}

}  // namespace

// One call of a hook. The library sees its first member.
class Life::Call final {
 public:
  Call(const Life& life, const char* name, const State* given) : life_(life), name_(name) {
    seen_.host = {.abi = SOSWAP_ABI,
                  .size = sizeof(soswap_host),
                  .generation = life.generation_,
                  .state_version = given != nullptr ? given->version : 0,
                  .path = life.path_.c_str(),
                  .state = given != nullptr ? given->bytes.data() : nullptr,
                  .state_size = given != nullptr ? given->bytes.size() : 0,
                  .save = Save,
                  .refuse = Refuse,
                  .log = Log,
                  .allocate = std::malloc,
                  .release = std::free};
    seen_.call = this;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() = default;

  void Run(Hook hook, const char* operation) {
    const auto fail = [&](Fault fault, const std::string& why) {
      throw Error(fault, operation, life_.path_, std::string(name_) + why);
    };
    try {
      hook(&seen_.host);
    } catch (const std::exception& exception) {
      fail(Fault::kHookThrew, std::string(" threw a C++ exception: ") + exception.what());
    } catch (...) {
      fail(Fault::kHookThrew, " threw a C++ exception");
    }
    if (no_memory_) throw std::bad_alloc();
    if (refusal_) fail(Fault::kRefusedByLibrary, " refused: " + *refusal_);
    if (too_large_ != 0) {
      fail(Fault::kStateTooLarge, " saved " + std::to_string(too_large_) +
                                      " bytes, and a state has at most " +
                                      std::to_string(kLargestState));
    }
  }

  bool saves = false;
  std::optional<State> saved;

 private:
  struct Seen {
    soswap_host host;
    Call* call;
  };

  static Call& Of(const soswap_host* host) { return *reinterpret_cast<const Seen*>(host)->call; }

  // Called by the library, perhaps from C: no exception may leave these.
  template <typename Body>
  void Guarded(Body body) noexcept {
    try {
      body();
    } catch (...) {
      no_memory_ = true;
    }
  }

  static void Save(const soswap_host* host, const void* state, size_t size, uint32_t version) {
    Call& call = Of(host);
    if (!call.saves || (state == nullptr && size > 0)) return;
    call.too_large_ = size > kLargestState ? size : 0;
    if (call.too_large_ != 0) return;
    call.Guarded([&] {
      const auto* bytes = static_cast<const std::byte*>(state);
      call.saved = State{{bytes, bytes + size}, version};
    });
  }

  static void Refuse(const soswap_host* host, const char* sentence) {
    Call& call = Of(host);
    call.Guarded([&] {
      if (!call.refusal_) call.refusal_ = sentence == nullptr ? "it gave no reason" : sentence;
    });
  }

  static void Log(const soswap_host* host, const char* line) {
    Call& call = Of(host);
    if (line == nullptr) return;
    call.Guarded([&] { WriteHookLine({call.life_.path_, call.life_.generation_, line}); });
  }

  const Life& life_;
  const char* name_;
  Seen seen_{};
  std::optional<std::string> refusal_;
  size_t too_large_ = 0;
  bool no_memory_ = false;
};

void AssertHostAbi(const ElfFile& elf, const std::string& path) {
  const auto hooks = HookNames(elf);
  if (hooks.empty()) return;
  const auto fail = [&](const std::string& why) {
    throw Error(Fault::kHostAbi, "load", path, why);
  };
  std::array<uint32_t, 2> abi{};
  const uint64_t address = Find(elf, "soswap_abi", STT_OBJECT, sizeof(abi));
  if (address == 0) {
    fail("it exports " + hooks.front() +
         " and not soswap_abi, which soswap.h defines: include it, and export soswap_*");
  }
  try {
    const elf::View view = elf.memory().Read(address, sizeof(abi), "soswap_abi");
    abi = {view.At<uint32_t>(0), view.At<uint32_t>(1)};
  } catch (const elf::Defect& defect) {
    fail(defect.what());
  }
  const auto [version, size] = abi;
  if (version != SOSWAP_ABI || size > sizeof(soswap_host)) {
    fail("it was compiled with a soswap.h of ABI " + std::to_string(version) + " and " +
         std::to_string(size) + " bytes, and this soswap has ABI " + std::to_string(SOSWAP_ABI) +
         " and " + std::to_string(sizeof(soswap_host)) +
         " bytes: compile it with the one of `npx soswap include`");
  }
}

std::vector<std::string> HookNames(const ElfFile& elf) {
  std::vector<std::string> names;
  for (const std::string_view name : kHooks) {
    if (elf.Defines(name)) names.emplace_back(name);
  }
  return names;
}

Life::Life(const ElfFile& elf, uintptr_t base, std::string path, uint32_t generation)
    : path_(std::move(path)), generation_(generation) {
  const std::array<Hook*, 3> hooks = {&save_, &load_, &unload_};
  for (size_t index = 0; index < hooks.size(); ++index) {
    const uint64_t address = Find(elf, kHooks[index], STT_FUNC, 1);
    if (address == 0) continue;
    any_ = true;
    *hooks[index] = reinterpret_cast<Hook>(base + address);
  }
  variables_ = KeptVariables(elf, base, path_);
  any_ = any_ || !variables_.empty();
}

HandedOver Life::Save() const {
  HandedOver left;
  if (!any_) return left;
  if (save_ != nullptr) {
    Call call(*this, "soswap_save", nullptr);
    call.saves = true;
    call.Run(save_, "swap");
    left.state = std::move(call.saved);
  }
  left.kept = variables_.Values();
  return left;
}

void Life::Load(const HandedOver& from) {
  if (loaded_) return;
  kept_.clear();
  reset_.clear();
  variables_.Set(from.kept, kept_, reset_);
  if (load_ != nullptr) {
    Call call(*this, "soswap_load", from.state ? &*from.state : nullptr);
    call.Run(load_, "load");
  }
  loaded_ = true;
}

void Life::Unload() {
  if (!loaded_) return;
  if (unload_ != nullptr) {
    Call call(*this, "soswap_unload", nullptr);
    call.Run(unload_, "unload");
  }
  loaded_ = false;
}

}  // namespace soswap
