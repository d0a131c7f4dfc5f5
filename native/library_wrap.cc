#include "library_wrap.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "convert_js.h"
#include "core/resolution.h"
#include "inspect_wrap.h"
#include "js_error.h"
#include "slots_wrap.h"
#include "thread_work.h"

namespace soswap {
namespace {

constexpr napi_type_tag kTag{0x8f1b6c0e52d74a39, 0x9d3e7a14b6c2f508};

SnapshotOptions ToSnapshotOptions(const Napi::Value& value) {
  const auto flag = [options = value.As<Napi::Object>()](const char* name) {
    return options.Get(name).ToBoolean().Value();
  };
  return {.in_private_file = flag("inPrivateFile"),
          .allow_writer = flag("allowWriter"),
          .demote_unique = flag("demoteUnique"),
          .clear_no_delete = flag("clearNoDelete"),
          .symbolic = flag("symbolic"),
          .debug_info = flag("debugInfo"),
          .verbatim = flag("verbatim")};
}

// lib/native.ts: Needs.
struct Needs {
  std::shared_ptr<const SlotNames> names;
  bool bind_now;
  std::string leaving;
};

std::optional<Needs> ToNeeds(const Napi::Value& value) {
  if (value.IsUndefined()) return std::nullopt;
  const auto needs = value.As<Napi::Object>();
  return Needs{SlotsWrap::Get(needs.Get("slots")).Names(), needs.Get("bindNow").ToBoolean(),
               needs.Get("leaving").As<Napi::String>()};
}

// What the file and its dependencies tell about the symbols.
struct Resolved {
  std::vector<std::string> missing;
  std::vector<UndefinedSymbol> undefined;
  std::vector<RetainReason> hazards;
  std::vector<std::string> replaced;
};

// Any thread. Throws Error if a dependency is missing.
Resolved Resolve(const InspectedSnapshot& taken, const Needs& needs) {
  const Resolution resolution(taken.path, taken.elf.facts(), needs.leaving);
  resolution.ThrowIfMissing();
  Resolved resolved;
  for (size_t index = 0; index < needs.names->symbols.size(); ++index) {
    const std::string& symbol = needs.names->symbols[index];
    if (!needs.names->optional[index] && !taken.elf.Defines(symbol) &&
        !resolution.Provides(symbol)) {
      resolved.missing.push_back(symbol);
    }
  }
  if (needs.bind_now) resolved.undefined = resolution.Undefined(taken.elf);
  resolved.hazards = resolution.DependencyHazards();
  resolved.replaced = resolution.Replaced();
  return resolved;
}

Napi::Value ToObject(Napi::Env env, const Resolved& resolved) {
  Napi::Array undefined = Napi::Array::New(env, resolved.undefined.size());
  for (uint32_t index = 0; index < resolved.undefined.size(); ++index) {
    const UndefinedSymbol& symbol = resolved.undefined[index];
    Napi::Object entry = Napi::Object::New(env);
    entry["name"] = symbol.name;
    entry["version"] = symbol.version;
    entry["neededBy"] = symbol.needed_by;
    undefined[index] = entry;
  }
  Napi::Object object = Napi::Object::New(env);
  object["missing"] = ToArray(env, resolved.missing);
  object["undefined"] = undefined;
  object["hazards"] = ToArray(env, resolved.hazards);
  object["replaced"] = ToArray(env, resolved.replaced);
  return object;
}

// A request of takeSnapshot().
struct SnapshotRequest {
  std::string path;
  std::string origin;
  SnapshotOptions options;
  std::optional<Needs> needs;
};

SnapshotRequest ToSnapshotRequest(const Napi::CallbackInfo& info) {
  return {info[0].As<Napi::String>(), info[1].As<Napi::String>(), ToSnapshotOptions(info[2]),
          ToNeeds(info[3])};
}

struct TakenSnapshot {
  std::shared_ptr<InspectedSnapshot> inspected;
  std::optional<Resolved> resolved;
};

// Any thread. Throws Error.
TakenSnapshot Take(const SnapshotRequest& request) {
  TakenSnapshot taken{TakeSnapshot(request.path, request.origin, request.options), {}};
  if (request.needs) taken.resolved = Resolve(*taken.inspected, *request.needs);
  return taken;
}

// lib/native.ts: SnapshotFacts.
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
  facts["buildId"] = build_id ? Napi::String::New(env, *build_id) : env.Null();
  facts["descriptor"] = inspected.snapshot->descriptor();
  facts["staysMapped"] = StaysMapped(inspected.unload);
  facts["unmapHazards"] = ToArray(env, UnmapHazards(inspected.unload));
  facts["resolution"] = taken.resolved ? ToObject(env, *taken.resolved) : env.Null();
  facts["id"] = objects.snapshots.Add(std::move(taken.inspected));
  return facts;
}

// What lib/native.ts calls ImageOptions.
struct OpenRequest {
  std::shared_ptr<InspectedSnapshot> taken;
  ImageOrigin origin;
  int mode;
  bool direct;
  std::optional<std::string> stayed_as;

  // Any thread. Throws Error.
  std::shared_ptr<Image> Open() const {
    if (stayed_as) return Image::Reopen(origin, *stayed_as, mode);
    return direct ? Image::OpenDirect(origin, mode)
                  : Image::Open(origin, taken->snapshot, taken->elf.facts(), mode);
  }
};

OpenRequest ToOpenRequest(std::shared_ptr<InspectedSnapshot> taken, const Napi::Value& value) {
  const auto options = value.As<Napi::Object>();
  const ElfFacts& elf = taken->elf.facts();
  ImageOrigin origin{.path = taken->path,
                     .generation = options.Get("generation").As<Napi::Number>(),
                     .source = taken->snapshot->source(),
                     .build_id = elf.build_id,
                     .memory_size = elf.memory_size,
                     .unload = taken->unload,
                     .may_unmap = options.Get("mayUnmap").ToBoolean(),
                     .thread = static_cast<pid_t>(syscall(SYS_gettid))};
  OpenRequest request{std::move(taken), std::move(origin), options.Get("mode").As<Napi::Number>(),
                      options.Get("direct").ToBoolean(), std::nullopt};
  const Napi::Value stayed_as = options.Get("stayedAs");
  if (stayed_as.IsString()) request.stayed_as = stayed_as.As<Napi::String>();
  return request;
}

// lib/native.ts: ImageFacts.
Napi::Object AddImage(Napi::Env env, LibraryObjects& objects, std::shared_ptr<Image> image) {
  Napi::Object facts = Napi::Object::New(env);
  facts["base"] = Napi::BigInt::New(env, static_cast<uint64_t>(image->base()));
  facts["loaderName"] = image->loader_name();
  facts["memorySize"] = static_cast<double>(image->memory_size());
  facts["id"] = objects.images.Add(std::move(image));
  return facts;
}

}  // namespace

void LibraryWrap::Init(Napi::Env env, Napi::Object exports) {
  exports["Library"] =
      DefineClass(env, "Library",
                  {InstanceMethod<&LibraryWrap::TakeSnapshot>("takeSnapshot"),
                   InstanceMethod<&LibraryWrap::TakeSnapshotAsync>("takeSnapshotAsync"),
                   InstanceMethod<&LibraryWrap::Inspect>("inspect"),
                   InstanceMethod<&LibraryWrap::StillInFile>("stillInFile"),
                   InstanceMethod<&LibraryWrap::StillInFileAsync>("stillInFileAsync"),
                   InstanceMethod<&LibraryWrap::ReleaseSnapshot>("releaseSnapshot"),
                   InstanceMethod<&LibraryWrap::OpenImage>("openImage"),
                   InstanceMethod<&LibraryWrap::OpenImageAsync>("openImageAsync"),
                   InstanceMethod<&LibraryWrap::Symbol>("symbol"),
                   InstanceMethod<&LibraryWrap::CallsInFlight>("callsInFlight"),
                   InstanceMethod<&LibraryWrap::CloseImage>("closeImage"),
                   InstanceMethod<&LibraryWrap::CloseImageAsync>("closeImageAsync"),
                   InstanceMethod<&LibraryWrap::KeepImage>("keepImage")});
}

std::shared_ptr<LibraryObjects> LibraryWrap::Get(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    throw Napi::TypeError::New(value.Env(), "not a native Library");
  }
  return Unwrap(value.As<Napi::Object>())->objects_;
}

LibraryWrap::LibraryWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LibraryWrap>(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

// takeSnapshot(path, origin, options, needs)
Napi::Value LibraryWrap::TakeSnapshot(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const SnapshotRequest request = ToSnapshotRequest(info);
  return AddSnapshot(env, *objects_, Translating(env, [&] { return Take(request); }));
}

// takeSnapshotAsync(path, origin, options, needs): the same on another thread.
Napi::Value LibraryWrap::TakeSnapshotAsync(const Napi::CallbackInfo& info) {
  return RunOnThread(
      info.Env(), [request = ToSnapshotRequest(info)] { return Take(request); },
      [objects = objects_](Napi::Env env, TakenSnapshot taken) {
        return AddSnapshot(env, *objects, std::move(taken));
      });
}

// inspect(snapshot)
Napi::Value LibraryWrap::Inspect(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return Translating(env, [&] { return soswap::Inspect(env, *objects_->snapshots.Get(info[0])); });
}

// stillInFile(snapshot, path, options)
Napi::Value LibraryWrap::StillInFile(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return Translating(env, [&] {
    const bool still = soswap::StillInFile(*objects_->snapshots.Get(info[0]),
                                           info[1].As<Napi::String>(), ToSnapshotOptions(info[2]));
    return Napi::Boolean::New(env, still);
  });
}

// stillInFileAsync(snapshot, path, options): the same on another thread.
Napi::Value LibraryWrap::StillInFileAsync(const Napi::CallbackInfo& info) {
  return RunOnThread(
      info.Env(),
      [taken = objects_->snapshots.Get(info[0]), path = info[1].As<Napi::String>().Utf8Value(),
       options = ToSnapshotOptions(info[2])] { return soswap::StillInFile(*taken, path, options); },
      [](Napi::Env env, bool still) { return Napi::Boolean::New(env, still); });
}

// releaseSnapshot(snapshot): an image that was opened from it keeps the bytes for itself.
void LibraryWrap::ReleaseSnapshot(const Napi::CallbackInfo& info) {
  objects_->snapshots.Remove(info[0]);
}

// openImage(snapshot, options): lib/native.ts: ImageOptions, ImageFacts
Napi::Value LibraryWrap::OpenImage(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const OpenRequest request = ToOpenRequest(objects_->snapshots.Get(info[0]), info[1]);
  return AddImage(env, *objects_, Translating(env, [&] { return request.Open(); }));
}

// openImageAsync(snapshot, options, slots): the same on another thread, which also looks the
// symbols of the slots up.
Napi::Value LibraryWrap::OpenImageAsync(const Napi::CallbackInfo& info) {
  return RunOnOwnThread(
      info.Env(),
      [request = ToOpenRequest(objects_->snapshots.Get(info[0]), info[1]),
       names = SlotsWrap::Get(info[2]).Names()] {
        auto image = request.Open();
        image->FindSymbols(names->symbols);
        return image;
      },
      [objects = objects_](Napi::Env env, std::shared_ptr<Image> image) {
        return AddImage(env, *objects, std::move(image));
      });
}

// symbol(image, name): its address, or undefined.
Napi::Value LibraryWrap::Symbol(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto address = objects_->images.Get(info[0])->Symbol(info[1].As<Napi::String>());
  if (!address) return env.Undefined();
  return Napi::BigInt::New(env, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(*address)));
}

Napi::Value LibraryWrap::CallsInFlight(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), objects_->images.Get(info[0])->calls().value());
}

// closeImage(image): why it is still mapped afterwards; empty if it is gone.
Napi::Value LibraryWrap::CloseImage(const Napi::CallbackInfo& info) {
  return ToArray(info.Env(), TakeIdleImage(info[0])->Close());
}

// closeImageAsync(image, snapshot): the same on another thread, which releases the snapshot too.
Napi::Value LibraryWrap::CloseImageAsync(const Napi::CallbackInfo& info) {
  return RunOnThread(
      info.Env(),
      [image = TakeIdleImage(info[0]), snapshot = objects_->snapshots.Take(info[1])]() mutable {
        std::vector<RetainReason> reasons = image->Close();
        snapshot.reset();
        return reasons;
      },
      [](Napi::Env env, const std::vector<RetainReason>& reasons) {
        return ToArray(env, reasons);
      });
}

// First forgotten, then closed: a destructor of the library may call back into JavaScript.
std::shared_ptr<Image> LibraryWrap::TakeIdleImage(const Napi::Value& id) {
  if (objects_->images.Get(id)->calls().value() > 0) {
    throw Napi::Error::New(id.Env(), "calls are in flight in this image");
  }
  return objects_->images.Take(id);
}

// keepImage(image, reasons): leaves it mapped.
void LibraryWrap::KeepImage(const Napi::CallbackInfo& info) {
  objects_->images.Take(info[0])->Keep(ToRetainReasons(info[1]));
}

}  // namespace soswap
