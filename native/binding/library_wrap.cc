#include "binding/library_wrap.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "binding/addon_data.h"
#include "binding/call/slots_wrap.h"
#include "binding/convert_js.h"
#include "binding/handed_js.h"
#include "binding/inspect_wrap.h"
#include "binding/js_error.h"
#include "binding/thread_work.h"
#include "core/base/this_thread.h"
#include "core/base/unnamed_file.h"
#include "core/bind/loader_functions.h"
#include "core/bind/own_first.h"
#include "core/elf/name_hints.h"
#include "core/life/life.h"
#include "core/resolve/c_library.h"
#include "core/resolve/needed_files.h"

namespace soswap {
namespace {

constexpr napi_type_tag kTag{0x8f1b6c0e52d74a39, 0x9d3e7a14b6c2f508};

// lib/native/types.ts: CopyEdit.
void AddEdit(const std::string& name, bool count, CopyPlan& plan) {
  if (name == "bind-imports") {
    plan.bind = BindAndTrack(LoaderFunctions(), count);
  } else {
    plan.edits.push_back(EditNamed(name));
  }
}

CopyPlan ToCopyPlan(const Napi::Value& value) {
  const auto options = value.As<Napi::Object>();
  const auto text = [&](const char* name) {
    return std::string(options.Get(name).As<Napi::String>());
  };
  SetTemporaryDirectory(text("temporaryDirectory"));
  CopyPlan plan;
  if (text("storage") == "file") plan.storage = Storage::kPrivateFile;
  if (text("extent") == "whole") plan.extent = Snapshot::Extent::kWhole;
  plan.allow_writer = options.Get("allowWriter").ToBoolean();
  plan.own_first = options.Get("ownFirst").ToBoolean();
  plan.allow_noexec = options.Get("allowNoexec").ToBoolean();
  plan.maps_copy = options.Get("mapsCopy").ToBoolean();
  const auto edits = options.Get("edits").As<Napi::Array>();
  for (uint32_t index = 0; index < edits.Length(); ++index) {
    AddEdit(edits.Get(index).As<Napi::String>(), options.Get("account").ToBoolean(), plan);
  }
  return plan;
}

// The candidate that is to be taken, as JavaScript asks for it.
struct SnapshotRequest {
  std::string file;
  std::string path;
  CopyPlan plan;
  std::vector<Provided> provided;
  std::optional<Requirements> needs;
};

// What the loader does not show: the images that handles have open, but for those that are closed.
Closing ToClosing(const Napi::Value& images, bool all) {
  return {ToStrings(images), all, StaysOpen};
}

// lib/native/types.ts: Provision[].
std::vector<Provided> ToProvided(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<Provided> provided;
  for (uint32_t index = 0; index < array.Length(); ++index) {
    const auto each = array.Get(index).As<Napi::Array>();
    const auto library = LibraryWrap::Get(each.Get(1U));
    provided.push_back(
        {each.Get(0U).As<Napi::String>(), library->snapshots.Get(each.Get(2U)), nullptr});
  }
  return provided;
}

// (file, provided, slots, bindNow, closingImages, closesAll)
SnapshotRequest ToSnapshotRequest(const Napi::CallbackInfo& info, const std::string& path,
                                  const CopyPlan& plan) {
  SnapshotRequest request{info[0].As<Napi::String>(), path, plan, ToProvided(info[1]),
                          std::nullopt};
  if (!info[2].IsUndefined()) {
    request.needs = {SlotsWrap::Get(info[2]).Names(), info[3].ToBoolean(),
                     ToClosing(info[4], info[5].ToBoolean())};
  }
  return request;
}

struct TakenSnapshot {
  std::shared_ptr<InspectedSnapshot> inspected;
  CLibraryPart part = CLibraryPart::kNone;
  std::optional<Resolved> resolved;
  std::vector<StaleImage> stale;
  bool own_first = false;  // it must be loaded with RTLD_DEEPBIND
};

// Any thread. Throws Error.
TakenSnapshot Take(const SnapshotRequest& request) {
  TakenSnapshot taken;
  taken.inspected = TakeSnapshot(request.file, request.path, request.plan, request.provided);
  taken.part = CLibraryPartOf(taken.inspected->elf, request.path);
  const bool is_of_process = taken.part == CLibraryPart::kOwn;
  const bool own_first = request.plan.own_first && !is_of_process;
  if (request.needs && !is_of_process) {
    AssertLoadable(*taken.inspected, request.plan);
    AssertHostAbi(taken.inspected->elf, request.path);
  }
  if (!request.needs && !own_first) return taken;
  const Resolution resolution(request.path, taken.inspected->elf.facts(),
                              request.needs ? request.needs->closing : Closing(),
                              taken.inspected->provided);
  if (request.needs) {
    taken.resolved = Resolve(*taken.inspected, *request.needs, resolution);
    taken.stale = StaleImages(resolution.loaded_dependencies());
  }
  if (own_first) taken.own_first = PutOwnFirst(*taken.inspected, resolution);
  return taken;
}

// lib/native/types.ts: SnapshotFacts.
Napi::Object AddSnapshot(Napi::Env env, LibraryObjects& objects, TakenSnapshot taken) {
  const InspectedSnapshot& inspected = *taken.inspected;
  const FileIdentity& source = inspected.snapshot->source();
  const auto& build_id = inspected.elf.facts().build_id;
  Napi::Object facts = Napi::Object::New(env);
  facts["device"] = Napi::BigInt::New(env, source.device);
  facts["inode"] = Napi::BigInt::New(env, source.inode);
  facts["size"] = static_cast<double>(source.size);
  facts["mtimeNs"] = Napi::BigInt::New(env, source.mtime_ns);
  facts["ctimeNs"] = Napi::BigInt::New(env, source.ctime_ns);
  facts["buildId"] = StringOrNull(env, build_id);
  facts["descriptor"] = inspected.snapshot->descriptor();
  facts["ownFirst"] = taken.own_first;
  facts["staysMapped"] = StaysMapped(inspected.unload);
  facts["unmapHazards"] = ToArray(env, UnmapHazards(inspected.unload));
  facts["cLibrary"] = taken.part == CLibraryPart::kOwn       ? Napi::String::New(env, "own")
                      : taken.part == CLibraryPart::kForeign ? Napi::String::New(env, "foreign")
                                                             : env.Null();
  facts["resolution"] =
      taken.resolved ? ToObjectOrNull(env, *taken.resolved, taken.stale) : env.Null();
  facts["id"] = objects.snapshots.Add(std::move(taken.inspected));
  return facts;
}

// The loader names of the images that are the provided dependencies, one for each.
std::vector<std::string> ToProviders(const Napi::Value& value, const InspectedSnapshot& taken) {
  std::vector<std::string> providers = ToStrings(value);
  if (providers.size() != taken.provided.size()) {
    throw Napi::TypeError::New(value.Env(), "not as many images as provided dependencies");
  }
  return providers;
}

}  // namespace

// [snapshot, mapping, mode, generation, mayUnmap, providers]
ImageRequest ToImageRequest(const Napi::CallbackInfo& info, size_t first,
                            const LibraryObjects& objects) {
  std::shared_ptr<InspectedSnapshot> taken = objects.snapshots.Get(info[first]);
  const std::string mapping = info[first + 1].As<Napi::String>();
  const bool is_copy = mapping != "file" && mapping != "loaded";
  ImageOrigin origin{.path = taken->path,
                     .generation = info[first + 3].As<Napi::Number>(),
                     .source = taken->snapshot->source(),
                     .build_id = taken->elf.facts().build_id,
                     .memory_size = taken->elf.facts().memory_size,
                     .copy_size = is_copy ? taken->snapshot->held() : 0,
                     .unload = taken->unload,
                     .may_unmap = info[first + 4].ToBoolean(),
                     .thread = ThisThread()};
  std::vector<std::string> providers = ToProviders(info[first + 5], *taken);
  return {std::move(taken),
          mapping == "file"     ? ImageRequest::Mapping::kFile
          : mapping == "loaded" ? ImageRequest::Mapping::kLoaded
                                : ImageRequest::Mapping::kSnapshot,
          info[first + 2].As<Napi::Number>(), std::move(origin), std::move(providers)};
}

// Takes no memory but that of JavaScript: the report of a swap that took effect must not fail.
Napi::Object ToImageFacts(Napi::Env env, const Image& image) {
  Napi::Object facts = Napi::Object::New(env);
  facts.Set("base", Napi::BigInt::New(env, static_cast<uint64_t>(image.base())));
  facts.Set("loaderName", ToString(env, image.loader_name()));
  facts.Set("mappedFrom", ToString(env, image.mapped_from()));
  facts.Set("copySize", Napi::Number::New(env, static_cast<double>(image.copy_size())));
  if (const Life& life = image.life(); life.any()) {
    facts.Set("kept", ToArray(env, life.kept()));
    facts.Set("reset", ToArray(env, life.reset()));
  }
  return facts;
}

void LibraryWrap::Init(Napi::Env env, Napi::Object exports) {
  exports["Library"] =
      DefineClass(env, "Library",
                  {InstanceMethod<&LibraryWrap::TakeSnapshot>("takeSnapshot"),
                   InstanceMethod<&LibraryWrap::TakeSnapshotAsync>("takeSnapshotAsync"),
                   InstanceMethod<&LibraryWrap::Links>("links"),
                   InstanceMethod<&LibraryWrap::NeededFiles>("neededFiles"),
                   InstanceMethod<&LibraryWrap::Inspect>("inspect"),
                   InstanceMethod<&LibraryWrap::NameHints>("nameHints"),
                   InstanceMethod<&LibraryWrap::StillInFile>("stillInFile"),
                   InstanceMethod<&LibraryWrap::StillInFileAsync>("stillInFileAsync"),
                   InstanceMethod<&LibraryWrap::ReleaseSnapshot>("releaseSnapshot"),
                   InstanceMethod<&LibraryWrap::OpenImage>("openImage"),
                   InstanceMethod<&LibraryWrap::OpenImageAsync>("openImageAsync"),
                   InstanceMethod<&LibraryWrap::IsOpen>("isOpen"),
                   InstanceMethod<&LibraryWrap::ImageFacts>("imageFacts"),
                   InstanceMethod<&LibraryWrap::HasStaleDependency>("hasStaleDependency"),
                   InstanceMethod<&LibraryWrap::DependencyPaths>("dependencyPaths"),
                   InstanceMethod<&LibraryWrap::StayingDependencies>("stayingDependencies"),
                   InstanceMethod<&LibraryWrap::InUse>("inUse"),
                   InstanceMethod<&LibraryWrap::Symbol>("symbol"),
                   InstanceMethod<&LibraryWrap::CallsInFlight>("callsInFlight"),
                   InstanceMethod<&LibraryWrap::CloseImage>("closeImage"),
                   InstanceMethod<&LibraryWrap::CloseImageAsync>("closeImageAsync"),
                   InstanceMethod<&LibraryWrap::Save>("save"),
                   InstanceMethod<&LibraryWrap::Load>("load"),
                   InstanceMethod<&LibraryWrap::Unload>("unload"),
                   InstanceMethod<&LibraryWrap::MarkRetained>("markRetained"),
                   InstanceMethod<&LibraryWrap::ShowHistory>("showHistory"),
                   InstanceMethod<&LibraryWrap::KeepImage>("keepImage")});
}

std::shared_ptr<LibraryObjects> LibraryWrap::Get(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    throw Napi::TypeError::New(value.Env(), "not a native Library");
  }
  return Unwrap(value.As<Napi::Object>())->objects_;
}

// new Library(path, options)
LibraryWrap::LibraryWrap(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<LibraryWrap>(info),
      path_(info[0].As<Napi::String>()),
      plan_(ToCopyPlan(info[1])),
      owned_(info.Env().GetInstanceData<AddonData>()->owned) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  owned_->Add(objects_);
}

LibraryWrap::~LibraryWrap() { owned_->Remove(objects_); }

// takeSnapshot(file, provided, slots, bindNow, closingImages, closesAll)
Napi::Value LibraryWrap::TakeSnapshot(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const SnapshotRequest request = ToSnapshotRequest(info, path_, plan_);
  return AddSnapshot(env, *objects_, Translating(env, [&] { return Take(request); }));
}

// takeSnapshotAsync(file, provided, slots, bindNow, closingImages, closesAll): the same on another
// thread.
Napi::Value LibraryWrap::TakeSnapshotAsync(const Napi::CallbackInfo& info) {
  return RunOnThread(
      info.Env(), [request = ToSnapshotRequest(info, path_, plan_)] { return Take(request); },
      [objects = objects_](Napi::Env env, TakenSnapshot taken) {
        return AddSnapshot(env, *objects, std::move(taken));
      });
}

// links(snapshot): lib/native/types.ts: SnapshotLinks.
Napi::Value LibraryWrap::Links(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto taken = objects_->snapshots.Get(info[0]);
  const auto& soname = taken->elf.facts().soname;
  std::vector<std::string> provided;
  std::vector<std::string> provided_as;
  for (const Provided& each : taken->provided) {
    provided.push_back(each.name);
    provided_as.push_back(each.as->text());
  }
  Napi::Object links = Napi::Object::New(env);
  links["soname"] = soname ? Napi::String::New(env, *soname) : env.Null();
  links["needed"] = ToArray(env, NeededInFile(*taken));
  links["provided"] = ToArray(env, provided);
  links["providedAs"] = ToArray(env, provided_as);
  return links;
}

// neededFiles(snapshot, inherited): lib/native/types.ts: NeededFiles.
Napi::Value LibraryWrap::NeededFiles(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto taken = objects_->snapshots.Get(info[0]);
  const soswap::NeededFiles found =
      FindNeededFiles(path_, NeededInFile(*taken), taken->elf.facts(), ToStrings(info[1]));
  Napi::Object files = Napi::Object::New(env);
  files["paths"] = ToArray(env, found.paths);
  files["inherited"] = ToArray(env, found.inherited);
  return files;
}

// inspect(snapshot)
Napi::Value LibraryWrap::Inspect(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return Translating(env, [&] { return soswap::Inspect(env, *objects_->snapshots.Get(info[0])); });
}

// nameHints(snapshot, name): what may be meant by a name that the library does not export.
Napi::Value LibraryWrap::NameHints(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string name = info[1].As<Napi::String>();
  return Translating(env, [&] {
    const ElfFile& elf = objects_->snapshots.Get(info[0])->elf;
    Napi::Object hints = Napi::Object::New(env);
    hints["mangled"] = ToArray(env, MangledNames(elf, name));
    hints["addonSymbol"] = StringOrNull(env, AddonSymbol(elf));
    return hints;
  });
}

// stillInFile(snapshot)
Napi::Value LibraryWrap::StillInFile(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return Translating(env, [&] {
    const bool still = soswap::StillInFile(*objects_->snapshots.Get(info[0]), path_, plan_);
    return Napi::Boolean::New(env, still);
  });
}

// stillInFileAsync(snapshot): the same on another thread.
Napi::Value LibraryWrap::StillInFileAsync(const Napi::CallbackInfo& info) {
  return RunOnThread(
      info.Env(),
      [taken = objects_->snapshots.Get(info[0]), path = path_, plan = plan_] {
        return soswap::StillInFile(*taken, path, plan);
      },
      [](Napi::Env env, bool still) { return Napi::Boolean::New(env, still); });
}

// releaseSnapshot(snapshot): an image that was opened from it keeps the bytes for itself.
void LibraryWrap::ReleaseSnapshot(const Napi::CallbackInfo& info) {
  objects_->snapshots.Remove(info[0].As<Napi::Number>());
}

// openImage(image, …ImageRequest)
void LibraryWrap::OpenImage(const Napi::CallbackInfo& info) {
  const ImageRequest request = ToImageRequest(info, 1, *objects_);
  const uint32_t id = info[0].As<Napi::Number>();
  objects_->images.Put(id, Translating(info.Env(), [&] { return request.Open(); }));
}

// openImageAsync(image, …ImageRequest, slots): the same on another thread, which also looks up the
// symbols of the slots.
Napi::Value LibraryWrap::OpenImageAsync(const Napi::CallbackInfo& info) {
  return RunOnNewThread(
      info.Env(),
      [request = ToImageRequest(info, 1, *objects_), symbols = SlotsWrap::Get(info[7]).Names()] {
        auto image = request.Open();
        image->FindSymbols(symbols->names);
        return image;
      },
      [objects = objects_, id = info[0].As<Napi::Number>().Uint32Value()](
          Napi::Env env, std::shared_ptr<Image> image) {
        objects->images.Put(id, std::move(image));
        return env.Undefined();
      });
}

// isOpen(image)
Napi::Value LibraryWrap::IsOpen(const Napi::CallbackInfo& info) {
  const bool open = objects_->images.Find(info[0].As<Napi::Number>()) != nullptr;
  return Napi::Boolean::New(info.Env(), open);
}

// imageFacts(image)
Napi::Value LibraryWrap::ImageFacts(const Napi::CallbackInfo& info) {
  return ToImageFacts(info.Env(), *objects_->images.Get(info[0]));
}

// inUse(image): why code of it may still run; empty if it is not open.
Napi::Value LibraryWrap::InUse(const Napi::CallbackInfo& info) {
  const auto image = objects_->images.Find(info[0].As<Napi::Number>());
  return ToArray(info.Env(), image == nullptr ? std::vector<RetainReason>() : image->WhyInUse());
}

// hasStaleDependency(image, closes, closesAll): false if it is not open.
Napi::Value LibraryWrap::HasStaleDependency(const Napi::CallbackInfo& info) {
  const auto image = objects_->images.Find(info[0].As<Napi::Number>());
  const bool stale =
      image != nullptr && image->HasStaleDependency(info[1].ToBoolean(), info[2].ToBoolean());
  return Napi::Boolean::New(info.Env(), stale);
}

// dependencyPaths(image): empty if it is not open.
Napi::Value LibraryWrap::DependencyPaths(const Napi::CallbackInfo& info) {
  const auto image = objects_->images.Find(info[0].As<Napi::Number>());
  return ToArray(info.Env(),
                 image == nullptr ? std::vector<std::string>() : image->DependencyPaths());
}

// stayingDependencies(image, closesAll): empty if it is not open.
Napi::Value LibraryWrap::StayingDependencies(const Napi::CallbackInfo& info) {
  const auto image = objects_->images.Find(info[0].As<Napi::Number>());
  return ToArray(info.Env(), image == nullptr ? std::vector<std::string>()
                                              : image->StayingDependencies(info[1].ToBoolean()));
}

// symbol(image, name): its address, or undefined.
Napi::Value LibraryWrap::Symbol(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto address = objects_->images.Get(info[0])->Symbol(info[1].As<Napi::String>());
  if (!address) return env.Undefined();
  return Napi::BigInt::New(env, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(*address)));
}

// callsInFlight(image): 0 if it is not open.
Napi::Value LibraryWrap::CallsInFlight(const Napi::CallbackInfo& info) {
  const auto image = objects_->images.Find(info[0].As<Napi::Number>());
  return Napi::Number::New(info.Env(), image == nullptr ? 0 : image->calls().value());
}

// closeImage(image, force): why it is still mapped afterwards; empty if it is gone.
Napi::Value LibraryWrap::CloseImage(const Napi::CallbackInfo& info) {
  const auto image = IdleImage(info[0]);
  const bool force = info[1].ToBoolean();
  // First forgotten, then closed: a destructor of the library may call back into JavaScript.
  objects_->images.Remove(info[0].As<Napi::Number>());
  return ToArray(info.Env(), Translating(info.Env(), [&] { return image->Close(force); }));
}

// closeImageAsync(image, snapshots, force): the same on another thread, which releases the
// snapshots too. If it throws, nothing was closed.
Napi::Value LibraryWrap::CloseImageAsync(const Napi::CallbackInfo& info) {
  const auto idle = IdleImage(info[0]);
  const auto ids = info[1].As<Napi::Array>();
  std::vector<std::shared_ptr<InspectedSnapshot>> snapshots;
  for (uint32_t index = 0; index < ids.Length(); ++index) {
    snapshots.push_back(objects_->snapshots.Get(ids.Get(index)));
  }
  // Here: a hook belongs to the thread of the handle. If it refuses, Close() says so.
  try {
    idle->life().Unload();
  } catch (const Error&) {
  }
  idle->EndThread();  // here: what is due on this thread is due to no other
  const Napi::Promise closed = RunOnThread(
      info.Env(),
      [image = idle, force = info[2].ToBoolean().Value(), copies = std::move(snapshots)]() mutable {
        std::vector<RetainReason> reasons = image->Close(force);
        copies.clear();
        return reasons;
      },
      [](Napi::Env env, const std::vector<RetainReason>& reasons) {
        return ToArray(env, reasons);
      });
  objects_->images.Remove(info[0].As<Napi::Number>());
  for (uint32_t index = 0; index < ids.Length(); ++index) {
    objects_->snapshots.Remove(ids.Get(index).As<Napi::Number>());
  }
  return closed;
}

// The image, in which no call may be in flight.
std::shared_ptr<Image> LibraryWrap::IdleImage(const Napi::Value& id) const {
  auto image = objects_->images.Get(id);
  if (image->calls().value() > 0) {
    throw Napi::Error::New(id.Env(), "calls are in flight in this image");
  }
  return image;
}

// save(image): what it hands over, a HandedOver; undefined if it has no hooks and keeps nothing.
Napi::Value LibraryWrap::Save(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto image = objects_->images.Get(info[0]);
  if (!image->life().any()) return env.Undefined();
  return ToExternal(env, Translating(env, [&] { return image->life().Save(); }));
}

// load(image, handed): begins its life with that, or with nothing, if it has not begun.
void LibraryWrap::Load(const Napi::CallbackInfo& info) {
  const auto image = objects_->images.Get(info[0]);
  const auto handed = HandedFrom(info[1]);
  const HandedOver nothing;
  Translating(info.Env(), [&] { image->life().Load(handed == nullptr ? nothing : *handed); });
}

// unload(image): ends its life.
void LibraryWrap::Unload(const Napi::CallbackInfo& info) {
  const auto image = objects_->images.Get(info[0]);
  Translating(info.Env(), [&] { image->life().Unload(); });
}

// markRetained(image, reasons): it stays open, and the list of images says why.
void LibraryWrap::MarkRetained(const Napi::CallbackInfo& info) {
  objects_->images.Get(info[0])->ShowRetained(ToRetainReasons(info[1]));
}

// showHistory(image, bytes): of the copies that its handle can go back to.
void LibraryWrap::ShowHistory(const Napi::CallbackInfo& info) {
  const auto bytes = info[1].As<Napi::Number>().DoubleValue();
  objects_->images.Get(info[0])->ShowHistory(static_cast<uint64_t>(bytes));
}

// keepImage(image, reasons): leaves it mapped.
void LibraryWrap::KeepImage(const Napi::CallbackInfo& info) {
  objects_->images.Take(info[0])->Keep(ToRetainReasons(info[1]));
}

}  // namespace soswap
