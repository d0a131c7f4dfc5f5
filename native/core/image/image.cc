#include "core/image/image.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <utility>

#include "core/base/error.h"
#include "core/base/loader_name.h"
#include "core/copy/source_file.h"
#include "core/loader/dl.h"
#include "core/loader/loaded_objects.h"
#include "core/loader/loader_turn.h"
#include "core/loader/own_first_objects.h"
#include "core/loader/provided_objects.h"
#include "core/resolve/c_library.h"
#include "core/resolve/dependencies.h"
#include "core/resolve/resolution.h"
#include "core/tracking/thread_record.h"

namespace soswap {
namespace {

// The dependencies of an image that must not be loaded like it; held until the image needs them.
class Apart final {
 public:
  explicit Apart(const std::vector<LoadedApart>& objects) {
    for (const LoadedApart& object : objects) {
#ifdef RTLD_DEEPBIND
      const int flags = object.own_first ? RTLD_DEEPBIND : 0;
#else
      const int flags = 0;
#endif
      LoaderHandle handle(dlopen(object.path.c_str(), RTLD_LAZY | RTLD_LOCAL | flags));
      if (!object.own_first) others_.insert(object.path);
      if (handle == nullptr && !object.own_first) complete_ = false;
      if (handle != nullptr) handles_.push_back(std::move(handle));
    }
  }

  // The names of those that the program comes first for.
  const std::unordered_set<std::string>& others() const noexcept { return others_; }

  // The mode for the image itself. One that does not load alone is loaded with the image, and would
  // take its flag.
  int ModeFrom(int mode) const noexcept {
#ifdef RTLD_DEEPBIND
    if (!complete_) return mode & ~RTLD_DEEPBIND;
#endif
    return mode;
  }

 private:
  std::vector<LoaderHandle> handles_;
  std::unordered_set<std::string> others_;
  bool complete_ = true;
};

// Whether dlopen(3) would return an older image for this path, whatever the file is by now.
bool IsInTheWay(const ImageOrigin& origin) {
  return IsLoaded(origin.path) && !IsLiveImageOf(origin.path, origin.source) &&
         !IsMappedFromFile(origin.path);
}

// Whether the path still leads to the file that was copied, as it was then. A change of the time
// stamps of the inode alone is a new link, or a file that was moved away and back.
bool IsUnchanged(const ImageOrigin& origin, bool is_mapped) {
  FileIdentity now = Identify(OpenForReading(origin.path).get(), origin.path);
  if (is_mapped && now.ctime_ns != origin.source.ctime_ns && !IsMappedFromFile(origin.path)) {
    return false;
  }
  now.ctime_ns = origin.source.ctime_ns;
  return now == origin.source;
}

// The names of the objects that closing the image of this name unmaps.
std::set<std::string> GoingWith(const std::string& loader_name, bool all) {
  LoadedObjects loaded = LoadedObjects::List();
  std::set<std::string> names;
  for (const auto& object : Closing{{loader_name}, all, StaysOpen}.TakeOutOf(loaded)) {
    names.insert(object->name);
  }
  return names;
}

void ThrowChanged(const std::string& path) {
  throw Error(Fault::kChangedWhileRead, "load", path, "it was replaced after it was checked");
}

std::vector<ProvidedObject> ObjectsFor(const InspectedSnapshot& inspected,
                                       const std::vector<std::string>& providers) {
  if (inspected.provided.size() != providers.size()) {
    throw std::invalid_argument("not as many providers as provided dependencies");
  }
  std::vector<ProvidedObject> objects;
  objects.reserve(providers.size());
  for (size_t index = 0; index < providers.size(); ++index) {
    objects.push_back({inspected.provided[index].as->text(), providers[index]});
  }
  return objects;
}

// The names of `others`, and of all that the providers need, which were loaded with them.
std::unordered_set<std::string> OthersThan(std::unordered_set<std::string> others,
                                           const std::vector<std::string>& providers) {
  if (providers.empty()) return others;
  const LoadedObjects objects = LoadedObjects::List();
  for (const std::string& provider : providers) {
    for (const LoadedObject* object : objects.ClosureOf(provider)) others.insert(object->name);
  }
  return others;
}

}  // namespace

void AssertUnchanged(const ImageOrigin& origin) {
  if (!IsUnchanged(origin, false)) ThrowChanged(origin.path);
}

std::shared_ptr<Image> Image::Open(ImageOrigin origin, std::shared_ptr<InspectedSnapshot> inspected,
                                   int mode, std::vector<std::string> providers) {
  const LoaderTurn turn;
  const ElfFacts& elf = inspected->elf.facts();
  AssertNamesLead(inspected->snapshot->descriptor(), origin.path);
  const ProvidedObjects provided(origin.path, ObjectsFor(*inspected, providers));
  const std::string loader_name = inspected->snapshot->NewLoaderName();
  KnownImage known(loader_name, ImageIdentity::Of(origin.path, elf));  // to its constructors
  const auto& tracking = inspected->tracking;
  const bool began = tracking != nullptr && tracking->Begin(loader_name);
  const Apart apart(inspected->apart);
  LoaderHandle handle;
  try {
    handle.reset(LoadSnapshot(origin.path, elf, loader_name, apart.ModeFrom(mode)));
  } catch (...) {
    if (began) tracking->TryEnd();  // nothing of it is mapped
    throw;
  }
#ifdef RTLD_DEEPBIND
  if ((apart.ModeFrom(mode) & RTLD_DEEPBIND) != 0) {
    MarkOwnFirst(loader_name, OthersThan(apart.others(), providers));
  }
#endif
  origin.from_file = false;
  std::shared_ptr<Image> image(new Image(std::move(origin), std::move(handle), std::move(inspected),
                                         mode, std::move(known)));
  image->providers_ = std::move(providers);
  return image;
}

std::shared_ptr<Image> Image::OpenDirect(ImageOrigin origin,
                                         std::shared_ptr<InspectedSnapshot> inspected, int mode) {
  const LoaderTurn turn;
  if (IsInTheWay(origin)) {
    // A thread that kept it may have ended since. The loader looks again when a handle is closed.
    SweepWaiting();
    const LoaderHandle looked(dlopen(origin.path.c_str(), RTLD_LAZY | RTLD_NOLOAD));
  }
  if (IsInTheWay(origin)) {
    throw Error(
        Fault::kStillLoaded, "load", origin.path,
        "an older image of it stays loaded in this process, and dlopen(3) would return that");
  }
  LoaderHandle handle(dlopen(origin.path.c_str(), mode));
  if (handle == nullptr) throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  if (!IsUnchanged(origin, true)) ThrowChanged(origin.path);
  origin.from_file = true;
  return std::shared_ptr<Image>(
      new Image(std::move(origin), std::move(handle), std::move(inspected), mode, {}));
}

std::shared_ptr<Image> Image::OpenLoaded(ImageOrigin origin,
                                         std::shared_ptr<InspectedSnapshot> inspected, int mode) {
  const LoaderTurn turn;
  LoaderHandle handle(dlopen(LoadedNameOfPart(inspected->elf, origin.path).c_str(), mode));
  if (handle == nullptr) throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  origin.from_file = true;
  origin.of_c_library = true;
  return std::shared_ptr<Image>(
      new Image(std::move(origin), std::move(handle), std::move(inspected), mode, {}));
}

std::shared_ptr<Image> Image::OpenAgain(const Image& closed,
                                        std::shared_ptr<InspectedSnapshot> inspected,
                                        std::vector<std::string> providers, bool stayed_mapped) {
  ImageOrigin origin = closed.record_->origin;
  if (!stayed_mapped) {
    if (origin.of_c_library)
      return OpenLoaded(std::move(origin), std::move(inspected), closed.mode_);
    return Open(std::move(origin), std::move(inspected), closed.mode_, std::move(providers));
  }
  const LoaderTurn turn;
  LoaderHandle handle(dlopen(closed.loader_name().c_str(), closed.mode_ | RTLD_NOLOAD));
  if (handle == nullptr) throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  TakeWaiting(closed.loader_name());  // it has another handle now
  KnownImage known(closed.loader_name(), ImageIdentity::Of(origin.path, inspected->elf.facts()));
  std::shared_ptr<Image> image(new Image(std::move(origin), std::move(handle), std::move(inspected),
                                         closed.mode_, std::move(known)));
  image->providers_ = std::move(providers);
  return image;
}

Image::Image(ImageOrigin origin, LoaderHandle handle, std::shared_ptr<InspectedSnapshot> inspected,
             int mode, KnownImage known)
    : inspected_(std::move(inspected)),
      mode_(mode),
      handle_(std::move(handle)),
      record_(std::make_shared<LoadedImage>()) {
  link_map* map = nullptr;
  if (dlinfo(handle_.get(), RTLD_DI_LINKMAP, &map) != 0) {
    throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  }
  record_->origin = std::move(origin);
  // What the loader calls it, not what we asked for: it may have found an image that was there
  // before.
  record_->loader_name = map->l_name;
  record_->base = map->l_addr;
  if (!record_->origin.from_file && inspected_ != nullptr) record_->tracking = inspected_->tracking;
  record_->is_global = (mode & RTLD_GLOBAL) != 0;
  record_->known = std::move(known).As(record_->loader_name);
  if (inspected_ != nullptr && !record_->origin.of_c_library) {
    auto needed = DependenciesOf(record_->loader_name, inspected_->elf.facts().needed);
    record_->states = DependencyStates(needed);
    record_->dependencies = DependencyUse(std::move(needed));
  }
  if (inspected_ != nullptr && !record_->origin.of_c_library) {
    const ElfFile& elf = inspected_->elf;
    life_ = Life(elf, record_->base, record_->origin.path, record_->origin.generation);
    record_->hooks = HookNames(elf);
    record_->keeps = life_.KeptNames();
  }
  AddLoadedImage(record_);
}

Image::~Image() {
  if (handle_ == nullptr) return;
  try {
    if (record_->calls.value() > 0) {
      static_cast<void>(handle_.release());  // first: to make the reason may fail
      Keep({{"calls-in-flight", "its handle was dropped while calls were in flight in it"}});
    } else if (record_->origin.may_unmap) {
      Close(false);
    } else {
      static_cast<void>(handle_.release());  // first: to make the reason may fail
      Keep({{"kept", "its handle was dropped without being closed"}});
    }
  } catch (const std::bad_alloc&) {
    // It is closed or left mapped all the same; only the reason is lost.
  }
}

void Image::FindSymbols(const std::vector<std::string>& names) {
  found_.reserve(names.size());
  for (const std::string& name : names) found_.push_back(Address(name));
}

// dlsym(3) begins with the symbols of the image itself, and finds the same as the parsed tables
// unless the symbol is no plain address. It waits for the loader while a constructor runs on any
// thread.
std::optional<void*> Image::OwnSymbol(const std::string& name) const {
  if (inspected_ == nullptr || record_->origin.from_file) return std::nullopt;
  const elf::Symbols& symbols = inspected_->elf.symbols();
  const auto index = symbols.Find(name);
  if (!index) return std::nullopt;
  const Elf64_Sym symbol = symbols.At(*index);
  const unsigned type = ELF64_ST_TYPE(symbol.st_info);
  const bool is_plain = type == STT_FUNC || type == STT_OBJECT || type == STT_NOTYPE;
  if (!is_plain || elf::IsUnique(symbol) || symbol.st_shndx == SHN_ABS) return std::nullopt;
  return reinterpret_cast<void*>(record_->base + symbol.st_value);
}

std::optional<void*> Image::Symbol(const std::string& name) const {
  if (const auto own = OwnSymbol(name)) return own;
  return FindSymbol(handle_.get(), name.c_str());
}

bool Image::HasStaleDependency(bool closes, bool all) const {
  std::vector<std::string> names = record_->states.paths();
  const auto& images = record_->states.images();
  names.insert(names.end(), images.begin(), images.end());
  if (names.empty()) return false;
  const auto stale = StaleImages(names);
  if (std::any_of(stale.begin(), stale.end(), [](const auto& each) { return each.given_up; })) {
    return true;
  }
  const auto changed = closes ? record_->states.Changed() : std::vector<std::string>();
  if (changed.empty()) return false;
  const std::set<std::string> going = GoingWith(loader_name(), all);
  return std::any_of(changed.begin(), changed.end(),
                     [&](const std::string& path) { return going.contains(path); });
}

std::vector<std::string> Image::DependencyPaths() const {
  std::vector<std::string> paths = record_->states.paths();
  for (const std::string& image : record_->states.images()) paths.push_back(PathOfObject(image));
  return paths;
}

std::vector<std::string> Image::StayingDependencies(bool all) const {
  std::vector<std::string> staying;
  const std::set<std::string> going = GoingWith(loader_name(), all);
  for (const auto& names : {record_->states.paths(), record_->states.images()}) {
    for (const std::string& name : names) {
      if (!going.contains(name)) staying.push_back(PathOfObject(name));
    }
  }
  return staying;
}

// Returns why it must stay mapped.
std::vector<RetainReason> Image::Unload(bool force) {
  try {
    life_.Unload();
    return {};
  } catch (const Error& error) {
    if (force) return {};
    return {{"refused-by-library", error.what()}};
  }
}

std::vector<RetainReason> Image::Close(bool force) {
  if (record_->origin.of_c_library) return LeaveLoaded();
  auto refused = Unload(force);
  if (!refused.empty()) {
    Keep(refused);
    return refused;
  }
  inspected_.reset();
  return CloseOrWait(record_, std::move(handle_), force);
}

void Image::EndThread() const {
  if (record_->tracking == nullptr) return;
  if (ThreadRecord* record = ThreadRecord::IfAny()) record->Run(record_->tracking.get());
}

// Without dlclose(3): the other parts may use it, and a part that starts threads must not go. It is
// no image of soswap any more, and so not a retained one.
std::vector<RetainReason> Image::LeaveLoaded() {
  static_cast<void>(handle_.release());
  inspected_.reset();
  RemoveLoadedImage(*record_);
  return {{"c-library", "it is part of the C library, which the process itself uses"}};
}

void Image::Keep(std::vector<RetainReason> reasons) {
  if (record_->origin.of_c_library) {
    LeaveLoaded();
    return;
  }
  if (record_->calls.value() == 0) Unload(true);
  static_cast<void>(handle_.release());
  inspected_.reset();
  MarkRetained(*record_, std::move(reasons));
}

}  // namespace soswap
