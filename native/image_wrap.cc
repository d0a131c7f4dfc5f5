#include "image_wrap.h"

#include <string>
#include <utility>

#include "addon_data.h"
#include "js_error.h"
#include "snapshot_wrap.h"

namespace soswap {
namespace {

Napi::Object MakeWrap(Napi::Env env, std::shared_ptr<Image> image) {
  return ImageWrap::Make(env.GetInstanceData<AddonData>()->image, std::move(image));
}

// openImage(path, snapshot, mode)
Napi::Value Open(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return Translating(env, [&] {
    return MakeWrap(env,
                    Image::Open(info[0].As<Napi::String>(), SnapshotWrap::Get(info[1])->snapshot,
                                info[2].As<Napi::Number>()));
  });
}

// openImageDirect(path, mode)
Napi::Value OpenDirect(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return Translating(env, [&] {
    return MakeWrap(env, Image::OpenDirect(info[0].As<Napi::String>(), info[1].As<Napi::Number>()));
  });
}

// isLoaded(loaderName)
Napi::Value IsLoaded(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), Image::IsLoaded(info[0].As<Napi::String>()));
}

}  // namespace

void ImageWrap::Init(Napi::Env env, Napi::Object exports) {
  env.GetInstanceData<AddonData>()->image = Napi::Persistent(DefineClass(
      env, kName,
      {InstanceMethod<&ImageWrap::Symbol>("symbol"), InstanceMethod<&ImageWrap::Close>("close"),
       InstanceAccessor<&ImageWrap::Closed>("closed")}));
  exports["openImage"] = Napi::Function::New<Open>(env, "openImage");
  exports["openImageDirect"] = Napi::Function::New<OpenDirect>(env, "openImageDirect");
  exports["isLoaded"] = Napi::Function::New<IsLoaded>(env, "isLoaded");
}

ImageWrap::ImageWrap(const Napi::CallbackInfo& info) : SharedWrap(info) {
  Napi::Env env = info.Env();
  auto self = info.This().As<Napi::Object>();
  self["base"] = Napi::BigInt::New(env, static_cast<uint64_t>(core()->base()));
  self["loaderName"] = Napi::String::New(env, core()->loader_name());
}

// symbol(name): its address as a bigint, or undefined.
Napi::Value ImageWrap::Symbol(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!core()->open()) return env.Undefined();
  const auto address = core()->Symbol(info[0].As<Napi::String>());
  if (!address) return env.Undefined();
  return Napi::BigInt::New(env, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(*address)));
}

// close(): true if the image is gone from the process afterwards.
Napi::Value ImageWrap::Close(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), !core()->open() || core()->Close());
}

Napi::Value ImageWrap::Closed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), !core()->open());
}

}  // namespace soswap
