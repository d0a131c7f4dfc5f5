#include "snapshot_wrap.h"

#include <string>
#include <utility>

#include "addon_data.h"
#include "js_error.h"
#include "pool_work.h"

namespace soswap {
namespace {

std::shared_ptr<InspectedSnapshot> TakeAndInspect(const std::string& path,
                                                  Snapshot::Storage storage) {
  auto snapshot = Snapshot::Take(path, storage);
  ElfFile elf = ElfFile::Parse(snapshot->bytes(), path);
  snapshot->Seal();
  return std::make_shared<InspectedSnapshot>(
      InspectedSnapshot{std::move(snapshot), std::move(elf)});
}

Napi::Object MakeWrap(Napi::Env env, std::shared_ptr<InspectedSnapshot> taken) {
  return SnapshotWrap::Make(env.GetInstanceData<AddonData>()->snapshot, std::move(taken));
}

Snapshot::Storage StorageOf(const Napi::Value& value) {
  return value.ToBoolean() ? Snapshot::Storage::kPrivateFile : Snapshot::Storage::kMemory;
}

// takeSnapshot(path, inPrivateFile)
Napi::Value Take(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return Translating(env, [&] {
    return MakeWrap(env, TakeAndInspect(info[0].As<Napi::String>(), StorageOf(info[1])));
  });
}

// takeSnapshotAsync(path, inPrivateFile): the same on the thread pool.
Napi::Value TakeAsync(const Napi::CallbackInfo& info) {
  auto work = [path = info[0].As<Napi::String>().Utf8Value(), storage = StorageOf(info[1])] {
    return TakeAndInspect(path, storage);
  };
  return PoolWork<decltype(work), decltype(&MakeWrap)>::Run(info.Env(), std::move(work), &MakeWrap);
}

}  // namespace

void SnapshotWrap::Init(Napi::Env env, Napi::Object exports) {
  env.GetInstanceData<AddonData>()->snapshot =
      Napi::Persistent(DefineClass(env, kName,
                                   {InstanceMethod<&SnapshotWrap::Defines>("defines"),
                                    InstanceMethod<&SnapshotWrap::SameBytesAs>("sameBytesAs"),
                                    InstanceMethod<&SnapshotWrap::Release>("release")}));
  exports["takeSnapshot"] = Napi::Function::New<Take>(env, "takeSnapshot");
  exports["takeSnapshotAsync"] = Napi::Function::New<TakeAsync>(env, "takeSnapshotAsync");
}

SnapshotWrap::SnapshotWrap(const Napi::CallbackInfo& info) : SharedWrap(info) {
  Napi::Env env = info.Env();
  const FileIdentity& source = core()->snapshot->source();
  const ElfFile& elf = core()->elf;
  auto self = info.This().As<Napi::Object>();
  self["device"] = Napi::BigInt::New(env, source.device);
  self["inode"] = Napi::BigInt::New(env, source.inode);
  self["size"] = Napi::Number::New(env, static_cast<double>(source.size));
  self["mtimeNs"] = Napi::BigInt::New(env, source.mtime_ns);
  self["ctimeNs"] = Napi::BigInt::New(env, source.ctime_ns);
  self["openForWriting"] = Napi::Boolean::New(env, core()->snapshot->open_for_writing());
  self["buildId"] =
      elf.facts().build_id ? Napi::String::New(env, *elf.facts().build_id) : env.Null();
  self["noDelete"] = Napi::Boolean::New(env, elf.facts().flags.no_delete);
}

// defines(symbol): whether dlsym(3) would find it in this object itself.
Napi::Value SnapshotWrap::Defines(const Napi::CallbackInfo& info) {
  const std::string symbol = info[0].As<Napi::String>();
  return Napi::Boolean::New(info.Env(), core()->elf.Defines(symbol));
}

// sameBytesAs(snapshot)
Napi::Value SnapshotWrap::SameBytesAs(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), core()->snapshot->SameBytesAs(*Get(info[0])->snapshot));
}

// release(): an image that was opened from it keeps the bytes for itself.
void SnapshotWrap::Release(const Napi::CallbackInfo&) { SharedWrap::Release(); }

}  // namespace soswap
