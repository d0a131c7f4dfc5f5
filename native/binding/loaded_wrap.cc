#include "binding/loaded_wrap.h"

#include <memory>

#include "binding/addon_data.h"
#include "binding/convert_js.h"
#include "core/image/loaded_images.h"
#include "core/image/needed_by.h"
#include "core/tracking/thread_record.h"
#include "core/tracking/tracking.h"

namespace soswap {
namespace {

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
                      const std::vector<std::string>& needing) {
  const auto& [origin, loader_name, base, calls_in_flight, retained] = image;
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
  exports["isLoaded"] = Napi::Function::New<IsLoadedName>(env, "isLoaded");
  exports["sweep"] = Napi::Function::New<Sweep>(env, "sweep");
  exports["onUnused"] = Napi::Function::New<OnUnused>(env, "onUnused");
  exports["visitPool"] = Napi::Function::New<VisitPool>(env, "visitPool");
  exports["holdersOf"] = Napi::Function::New<Holders>(env, "holdersOf");
  exports["loadedImages"] = Napi::Function::New<Loaded>(env, "loadedImages");
}

}  // namespace soswap
