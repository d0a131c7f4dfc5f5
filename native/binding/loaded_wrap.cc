#include "binding/loaded_wrap.h"

#include <algorithm>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "binding/addon_data.h"
#include "binding/convert_js.h"
#include "core/image/loaded_images.h"
#include "core/image/needed_by.h"
#include "core/tracking/account.h"
#include "core/tracking/thread_record.h"
#include "core/tracking/tracking.h"

namespace soswap {
namespace {

Napi::Array ToPair(Napi::Env env, const MemoryUse& use) {
  Napi::Array array = Napi::Array::New(env, 2);
  array[0u] = static_cast<double>(use.images);
  array[1u] = static_cast<double>(use.bytes);
  return array;
}

// retainedImages(): [images, bytes]
Napi::Value Retained(const Napi::CallbackInfo& info) {
  return ToPair(info.Env(), RetainedImages());
}

// retainedImagesOf(path)
Napi::Value RetainedOf(const Napi::CallbackInfo& info) {
  const size_t count = RetainedImagesOf(info[0].As<Napi::String>());
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

// isAtRetainedLimit()
Napi::Value IsAtLimit(const Napi::CallbackInfo& info) {
  const auto [images, bytes] = RetainedImages();
  const auto [most_images, most_bytes] = RetainedLimit();
  return Napi::Boolean::New(info.Env(), images >= most_images || bytes >= most_bytes);
}

// heldBytes(loaderNames): -1 for one that is not loaded. Empty if memory is short: the report of a
// swap that took effect must not fail.
Napi::Value Held(const Napi::CallbackInfo& info) {
  std::vector<std::optional<uint64_t>> held;
  try {
    held = HeldBytes(ToStrings(info[0]));
  } catch (const std::bad_alloc&) {
    return Napi::Array::New(info.Env(), 0);
  }
  Napi::Array array = Napi::Array::New(info.Env(), held.size());
  for (uint32_t index = 0; index < held.size(); ++index) {
    array[index] = held[index] ? static_cast<double>(*held[index]) : -1.0;
  }
  return array;
}

// areLoaded(loaderNames)
Napi::Value AreLoadedNames(const Napi::CallbackInfo& info) {
  const auto loaded = AreLoaded(ToStrings(info[0]));
  Napi::Array array = Napi::Array::New(info.Env(), loaded.size());
  for (uint32_t index = 0; index < loaded.size(); ++index) array[index] = bool{loaded[index]};
  return array;
}

// unmappedObjects()
Napi::Value Unmapped(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(UnmappedObjects()));
}

// neededBy(loaderName)
Napi::Value NeededBy(const Napi::CallbackInfo& info) {
  return ToArray(info.Env(), ObjectsThatNeed(info[0].As<Napi::String>()));
}

// Beyond any count.
uint64_t ToCount(const Napi::Value& value) {
  constexpr double kMost = 9007199254740991.0;
  return static_cast<uint64_t>(std::min(value.As<Napi::Number>().DoubleValue(), kMost));
}

// retainedLimit(images, bytes): sets the limit of the process if there are arguments. Returns
// [images, bytes].
Napi::Value Limit(const Napi::CallbackInfo& info) {
  if (info.Length() == 2) SetRetainedLimit({ToCount(info[0]), ToCount(info[1])});
  return ToPair(info.Env(), RetainedLimit());
}

// leftBehind(loaderName): lib/native/types.ts: LeftBehind; null if the image is not counted. Takes
// no memory but that of JavaScript, and then forgets an image that is gone.
Napi::Value Left(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string loader_name = info[0].As<Napi::String>();
  const auto left = LeftBehindBy(loader_name, !IsLoaded(loader_name));
  if (!left) return env.Null();
  const auto number = [&](uint64_t value) {
    return Napi::Number::New(env, static_cast<double>(value));
  };
  Napi::Object object = Napi::Object::New(env);
  object.Set("allocations", number(left->allocations));
  object.Set("bytes", number(left->bytes));
  object.Set("descriptors", number(left->descriptors));
  object.Set("mappings", number(left->mappings));
  object.Set("mappedBytes", number(left->mapped_bytes));
  return object;
}

// isLoaded(loaderName)
Napi::Value IsLoadedName(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), IsLoaded(info[0].As<Napi::String>()));
}

// holdersOf(loaderName)
Napi::Value Holders(const Napi::CallbackInfo& info) {
  const size_t count = HoldersOf(info[0].As<Napi::String>());
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

// sweep(): tries the waiting images of this thread again. Returns how many wait.
Napi::Value Sweep(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(SweepWaiting()));
}

// onUnused(callback): calls it soon after a waiting image has got free. Holds no process alive.
void OnUnused(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* changed = new Napi::ThreadSafeFunction(
      Napi::ThreadSafeFunction::New(env, info[0].As<Napi::Function>(), "soswap", 1, 1));
  changed->Unref(env);
  const uint64_t listener = AddTrackingListener(
      [](void* data) {
        // A full queue says the same already.
        static_cast<Napi::ThreadSafeFunction*>(data)->NonBlockingCall();
      },
      changed);
  env.AddCleanupHook([changed, listener] {
    RemoveTrackingListener(listener);
    changed->Release();
    delete changed;
  });
}

// visitPool(): a visit of one thread of libuv's pool, which runs what is due there of images that
// wait.
void VisitPool(const Napi::CallbackInfo& info) {
  struct Visit final : Napi::AsyncWorker {
    explicit Visit(Napi::Env env) : AsyncWorker(env, "soswap") {}
    void Execute() override { VisitThread(); }
  };
  (new Visit(info.Env()))->Queue();
}

Napi::Object Describe(Napi::Env env, const LoadedImageInfo& image,
                      std::vector<std::string> needing) {
  const auto& [origin, loader_name, base, calls_in_flight, retained, written, history, hooks, keeps,
               bound] = image;
  needing.insert(needing.end(), bound.begin(), bound.end());
  Napi::Object object = Napi::Object::New(env);
  object["path"] = origin.path;
  object["generation"] = origin.generation;
  object["device"] = Napi::BigInt::New(env, origin.source.device);
  object["inode"] = Napi::BigInt::New(env, origin.source.inode);
  object["size"] = static_cast<double>(origin.source.size);
  object["mtimeNs"] = Napi::BigInt::New(env, origin.source.mtime_ns);
  object["buildId"] = origin.build_id ? Napi::String::New(env, *origin.build_id) : env.Null();
  object["base"] = Napi::BigInt::New(env, static_cast<uint64_t>(base));
  object["mappedFrom"] = ToString(env, MappedFrom(origin));
  object["memorySize"] = static_cast<double>(origin.memory_size);
  object["copySize"] = static_cast<double>(origin.copy_size);
  object["writtenSize"] = static_cast<double>(written);
  object["historySize"] = static_cast<double>(history);
  object["hooks"] = ToArray(env, hooks);
  object["keeps"] = ToArray(env, keeps);
  object["thread"] = origin.thread;
  object["callsInFlight"] = calls_in_flight;
  object["neededBy"] = ToArray(env, needing);
  object["retained"] = ToArray(env, retained);
  return object;
}

// loadedImages()
Napi::Value Loaded(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto images = LoadedImages();
  auto needing = ObjectsByNeed();
  Napi::Array array = Napi::Array::New(env, images.size());
  for (uint32_t index = 0; index < images.size(); ++index) {
    array[index] = Describe(env, images[index], needing[images[index].loader_name]);
  }
  return array;
}

}  // namespace

void InitLoaded(Napi::Env env, Napi::Object exports) {
  exports["leftBehind"] = Napi::Function::New<Left>(env, "leftBehind");
  exports["isLoaded"] = Napi::Function::New<IsLoadedName>(env, "isLoaded");
  exports["retainedImages"] = Napi::Function::New<Retained>(env, "retainedImages");
  exports["retainedImagesOf"] = Napi::Function::New<RetainedOf>(env, "retainedImagesOf");
  exports["retainedLimit"] = Napi::Function::New<Limit>(env, "retainedLimit");
  exports["isAtRetainedLimit"] = Napi::Function::New<IsAtLimit>(env, "isAtRetainedLimit");
  exports["heldBytes"] = Napi::Function::New<Held>(env, "heldBytes");
  exports["areLoaded"] = Napi::Function::New<AreLoadedNames>(env, "areLoaded");
  exports["unmappedObjects"] = Napi::Function::New<Unmapped>(env, "unmappedObjects");
  exports["neededBy"] = Napi::Function::New<NeededBy>(env, "neededBy");
  exports["sweep"] = Napi::Function::New<Sweep>(env, "sweep");
  exports["onUnused"] = Napi::Function::New<OnUnused>(env, "onUnused");
  exports["visitPool"] = Napi::Function::New<VisitPool>(env, "visitPool");
  exports["holdersOf"] = Napi::Function::New<Holders>(env, "holdersOf");
  exports["loadedImages"] = Napi::Function::New<Loaded>(env, "loadedImages");
}

}  // namespace soswap
