#include "core/bind/bound_imports.h"

#include <dlfcn.h>
#include <elf.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>

#include "core/base/error.h"
#include "core/elf/symbols.h"
#include "core/loader/dl.h"
#include "core/loader/stub_object.h"
#include "core/tracking/tracking.h"

namespace soswap {
namespace {

// A value that is no sum of a base address and an offset: the loader must not have touched it.
constexpr uintptr_t kProbe = 0x1234'5678'9abc;

#ifdef __GLIBC__
std::string Probe() {
  try {
    const StubObject stub(
        {.needed = {}, .soname = {}, .filter = {}, .search_path = {}, .symbol_value = kProbe},
        RTLD_NOW | RTLD_LOCAL);
    if (!stub.loaded()) return stub.refusal();
    const auto words = stub.Words();
    const bool taken = !words.empty() && std::all_of(words.begin(), words.end(),
                                                     [](uintptr_t word) { return word == kProbe; });
    return taken ? "" : "the loader does not take the value of an absolute symbol as it is";
  } catch (const Error& error) {
    return error.what();
  }
}
#else
// musl (ldso/dynlink.c, do_relocs) takes a local symbol's definition from the object itself, but
// adds the base address to the value of an absolute symbol too. That address is not known before
// the object is mapped.
std::string Probe() { return "this C library adds the base address to absolute symbols"; }
#endif

bool MayBeFunction(const Elf64_Sym& symbol) {
  const unsigned type = ELF64_ST_TYPE(symbol.st_info);
  return type == STT_FUNC || type == STT_NOTYPE;
}

// The object that has this address stays for as long as the process: images call it.
void Pin(uintptr_t address) {
  static std::atomic<bool> pinned{false};
  if (pinned.load(std::memory_order_relaxed)) return;
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(address), &info) != 0) {
    const LoaderHandle handle(dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE));
  }
  pinned.store(true, std::memory_order_relaxed);
}

// Of what another process has bound to the definition of its program or of what that needs.
uintptr_t GlobalAddress(const ElfFile& file, size_t index) {
  const elf::Symbols& symbols = file.symbols();
  const LoaderHandle global(dlopen(nullptr, RTLD_LAZY));
  const auto found = FindSymbol(global.get(), symbols.NameOf(symbols.At(index)).data(),
                                symbols.versions().TextOf(index));
  if (found && WhyImportsStayUnbound().empty()) return reinterpret_cast<uintptr_t>(*found);
  throw Error(Fault::kLoader, "load", file.subject(),
              "it is bound to functions of another process");
}

constexpr std::array<std::string_view, 6> kSignalFunctions{"sigaction",     "signal", "bsd_signal",
                                                           "__sysv_signal", "sigset", "ssignal"};

// Adds what the imports say to `tracking`, which is made for the first tracked one, unless it is
// shared with another copy.
class ImageImports final {
 public:
  ImageImports(const std::shared_ptr<Tracking>& same, bool count)
      : tracking_(same), may_make_(same == nullptr), account_(Account(count)) {}

  uintptr_t AddressOf(std::string_view name) {
    const bool is_signal =
        std::find(kSignalFunctions.begin(), kSignalFunctions.end(), name) != kSignalFunctions.end();
    if (!is_signal && !IsTrackedName(name)) {
      return account_ == nullptr ? 0 : account_->AddressOf(name);
    }
    Make();
    if (tracking_ == nullptr) return 0;
    if (is_signal) tracking_->set_uses_signals();
    return tracking_->AddressOf(name);
  }

  std::shared_ptr<Tracking> Take() { return std::move(tracking_); }

 private:
  void Make() {
    if (std::exchange(may_make_, false)) tracking_ = Tracking::New();
  }

  soswap::Account* Account(bool count) {
    if (!count) return nullptr;
    Make();
    return tracking_ == nullptr ? nullptr : tracking_->OpenAccount();
  }

  std::shared_ptr<Tracking> tracking_;
  bool may_make_;
  soswap::Account* account_;  // null: nothing is counted
};

template <typename Find>
void Bind(Find find, const ElfFile& file, std::span<std::byte> copy) {
  const bool can = WhyImportsStayUnbound().empty();
  const elf::Symbols& symbols = file.symbols();
  for (const size_t index : symbols.imports()) {
    const Elf64_Sym symbol = symbols.At(index);
    if (!MayBeFunction(symbol)) continue;
    const uintptr_t address = can ? find(symbols.NameOf(symbol)) : 0;
    if (address != 0) {
      Pin(address);
      BindImport(file, copy, index, address);
    } else if (elf::IsBound(symbol)) {
      BindImport(file, copy, index, GlobalAddress(file, index));
    }
  }
}

}  // namespace

BoundImports::BoundImports(std::vector<Function> functions) : functions_(std::move(functions)) {
  std::sort(functions_.begin(), functions_.end(),
            [](const Function& a, const Function& b) { return a.name < b.name; });
}

uintptr_t BoundImports::AddressOf(std::string_view name) const noexcept {
  const auto found = std::lower_bound(
      functions_.begin(), functions_.end(), name,
      [](const Function& function, std::string_view wanted) { return function.name < wanted; });
  return found != functions_.end() && found->name == name ? found->address : 0;
}

Edit BindImports(const BoundImports& imports) {
  return [&imports](const ElfFile& file, std::span<std::byte> copy) {
    Bind([&](std::string_view name) { return imports.AddressOf(name); }, file, copy);
  };
}

Binding BindAndTrack(const BoundImports& imports, bool count) {
  return [&imports, count](const ElfFile& file, std::span<std::byte> copy,
                           const std::shared_ptr<Tracking>& same) {
    Pin(reinterpret_cast<uintptr_t>(&IsTrackedName));
    ImageImports tracked(same, count);
    const auto find = [&](std::string_view name) {
      const uintptr_t address = tracked.AddressOf(name);
      return address != 0 ? address : imports.AddressOf(name);
    };
    Bind(find, file, copy);
    return tracked.Take();
  };
}

const std::string& WhyImportsStayUnbound() {
  // See GetLoaderPaths() for why this is no static initialisation.
  static std::atomic<const std::string*> known{nullptr};
  if (const std::string* reason = known.load(std::memory_order_acquire)) return *reason;
  auto reason = std::make_unique<const std::string>(Probe());
  const std::string* first = nullptr;
  if (!known.compare_exchange_strong(first, reason.get(), std::memory_order_acq_rel)) return *first;
  return *reason.release();
}

}  // namespace soswap
