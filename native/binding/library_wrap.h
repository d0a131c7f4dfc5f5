#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "binding/owned_objects.h"
#include "core/image/image_request.h"
#include "core/resolve/inspected_snapshot.h"

namespace soswap {

// Reads lib/native/types.ts: ImageRequest. Throws a TypeError if there is no such snapshot.
ImageRequest ToImageRequest(const Napi::CallbackInfo& info, size_t first,
                            const LibraryObjects& objects);

// lib/native/types.ts: ImageFacts.
Napi::Object ToImageFacts(Napi::Env env, const Image& image);

// lib/native/types.ts: NativeLibrary.
class LibraryWrap final : public Napi::ObjectWrap<LibraryWrap> {
 public:
  static void Init(Napi::Env env, Napi::Object exports);

  // The objects behind a JavaScript value, or a TypeError for anything but a Library.
  static std::shared_ptr<LibraryObjects> Get(const Napi::Value& value);

  explicit LibraryWrap(const Napi::CallbackInfo& info);
  LibraryWrap(const LibraryWrap&) = delete;
  LibraryWrap& operator=(const LibraryWrap&) = delete;
  ~LibraryWrap() override;

 private:
  Napi::Value TakeSnapshot(const Napi::CallbackInfo& info);
  Napi::Value TakeSnapshotAsync(const Napi::CallbackInfo& info);
  Napi::Value Links(const Napi::CallbackInfo& info);
  Napi::Value NeededFiles(const Napi::CallbackInfo& info);
  Napi::Value Inspect(const Napi::CallbackInfo& info);
  Napi::Value NameHints(const Napi::CallbackInfo& info);
  Napi::Value StillInFile(const Napi::CallbackInfo& info);
  Napi::Value StillInFileAsync(const Napi::CallbackInfo& info);
  void ReleaseSnapshot(const Napi::CallbackInfo& info);

  void OpenImage(const Napi::CallbackInfo& info);
  Napi::Value OpenImageAsync(const Napi::CallbackInfo& info);
  Napi::Value IsOpen(const Napi::CallbackInfo& info);
  Napi::Value ImageFacts(const Napi::CallbackInfo& info);
  Napi::Value HasStaleDependency(const Napi::CallbackInfo& info);
  Napi::Value DependencyPaths(const Napi::CallbackInfo& info);
  Napi::Value StayingDependencies(const Napi::CallbackInfo& info);
  Napi::Value InUse(const Napi::CallbackInfo& info);
  Napi::Value Symbol(const Napi::CallbackInfo& info);
  Napi::Value CallsInFlight(const Napi::CallbackInfo& info);
  Napi::Value CloseImage(const Napi::CallbackInfo& info);
  Napi::Value CloseImageAsync(const Napi::CallbackInfo& info);
  Napi::Value Save(const Napi::CallbackInfo& info);
  void Load(const Napi::CallbackInfo& info);
  void Unload(const Napi::CallbackInfo& info);
  void MarkRetained(const Napi::CallbackInfo& info);
  void ShowHistory(const Napi::CallbackInfo& info);
  void KeepImage(const Napi::CallbackInfo& info);

  std::shared_ptr<Image> IdleImage(const Napi::Value& id) const;

  const std::string path_;
  const CopyPlan plan_;
  std::shared_ptr<LibraryObjects> objects_ = std::make_shared<LibraryObjects>();
  std::shared_ptr<OwnedObjects> owned_;
};

}  // namespace soswap
