#pragma once

#include <napi.h>

#include <memory>

#include "core/elf_file.h"
#include "core/snapshot.h"
#include "wrap.h"

namespace soswap {

// A sealed snapshot and what its ELF tables say.
struct InspectedSnapshot {
  std::shared_ptr<Snapshot> snapshot;
  ElfFile elf;  // reads the snapshot's bytes
};

// lib/native.ts: NativeSnapshot.
class SnapshotWrap final : public SharedWrap<SnapshotWrap, InspectedSnapshot> {
 public:
  static constexpr napi_type_tag kTag{0x8f1b6c0e52d74a39, 0x9d3e7a14b6c2f508};
  static constexpr const char* kName = "Snapshot";

  static void Init(Napi::Env env, Napi::Object exports);

  explicit SnapshotWrap(const Napi::CallbackInfo& info);

 private:
  Napi::Value Defines(const Napi::CallbackInfo& info);
  Napi::Value SameBytesAs(const Napi::CallbackInfo& info);
  void Release(const Napi::CallbackInfo& info);
};

}  // namespace soswap
