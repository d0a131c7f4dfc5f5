#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "binding/id_table.h"
#include "core/image/image.h"
#include "core/resolve/inspected_snapshot.h"

namespace soswap {

// What one handle has taken and loaded.
struct LibraryObjects {
  IdTable<InspectedSnapshot> snapshots;
  IdTable<Image> images;
};

// lib/native/addon.ts: NativeLibrary.
class LibraryWrap final : public Napi::ObjectWrap<LibraryWrap> {
 public:
  static void Init(Napi::Env env, Napi::Object exports);

  // The objects behind a JavaScript value, or a TypeError for anything but a Library.
  static std::shared_ptr<LibraryObjects> Get(const Napi::Value& value);

  explicit LibraryWrap(const Napi::CallbackInfo& info);

 private:
  Napi::Value TakeSnapshot(const Napi::CallbackInfo& info);
  Napi::Value TakeSnapshotAsync(const Napi::CallbackInfo& info);
  Napi::Value Inspect(const Napi::CallbackInfo& info);
  Napi::Value StillInFile(const Napi::CallbackInfo& info);
  Napi::Value StillInFileAsync(const Napi::CallbackInfo& info);
  void ReleaseSnapshot(const Napi::CallbackInfo& info);

  Napi::Value OpenImage(const Napi::CallbackInfo& info);
  Napi::Value OpenImageAsync(const Napi::CallbackInfo& info);
  Napi::Value OpenFile(const Napi::CallbackInfo& info);
  Napi::Value ReopenImage(const Napi::CallbackInfo& info);
  Napi::Value Symbol(const Napi::CallbackInfo& info);
  Napi::Value CallsInFlight(const Napi::CallbackInfo& info);
  Napi::Value CloseImage(const Napi::CallbackInfo& info);
  Napi::Value CloseImageAsync(const Napi::CallbackInfo& info);
  void KeepImage(const Napi::CallbackInfo& info);

  std::shared_ptr<Image> TakeIdleImage(const Napi::Value& id);

  const std::string path_;
  const CopyPlan plan_;
  std::shared_ptr<LibraryObjects> objects_ = std::make_shared<LibraryObjects>();
};

}  // namespace soswap
