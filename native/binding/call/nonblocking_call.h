#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "binding/call/bound_table.h"
#include "binding/call/convert.h"
#include "core/call/call_frame.h"

namespace soswap {

// A call that runs on libuv's thread pool and settles a promise. Made, begun and settled on the
// JavaScript thread.
//
// Its arguments are taken when it is made. Strings are copied. JavaScript may detach, shrink or
// collect an ArrayBuffer while the call runs, and Node-API has no way to forbid that, so a call
// never gets the memory of an ArrayBuffer itself: it gets a copy, and when it is done, the bytes
// that it changed are written into the ArrayBuffer, as far as that is still attached and long
// enough. Bytes that it left alone keep what JavaScript may have stored there meanwhile. A
// SharedArrayBuffer can neither be detached nor shrink: the call gets its memory itself, and keeps
// it alive.
class NonblockingCall final {
 public:
  // Takes the arguments, as many as the signature has. Null, with an exception pending, if one does
  // not fit.
  static std::unique_ptr<NonblockingCall> Make(napi_env env, const Slot& slot,
                                               const napi_value* arguments);

  NonblockingCall(const NonblockingCall&) = delete;
  NonblockingCall& operator=(const NonblockingCall&) = delete;
  ~NonblockingCall();

  napi_value promise() const noexcept { return promise_; }

  // Calls what the slot points at now, or rejects if that is nothing. The image stays open until
  // the promise is settled.
  static void Begin(std::unique_ptr<NonblockingCall> call);

 private:
  // A stretch of an ArrayBuffer, from `begin` to `end`, that arguments point into. Stretches that
  // touch or overlap become one, so that their arguments overlap in the copy as they did.
  struct Region {
    struct AlignedDelete {
      void operator()(uint8_t* bytes) const noexcept;
    };

    size_t length() const noexcept { return end - begin; }

    napi_ref arraybuffer;
    const uint8_t* base;  // of the ArrayBuffer
    size_t begin;
    size_t end;
    std::unique_ptr<uint8_t[], AlignedDelete> working;  // what the call gets
    std::unique_ptr<uint8_t[]> pristine;                // what that was before
  };

  NonblockingCall(napi_env env, const Slot& slot) noexcept
      : env_(env), slot_(slot), frame_(slot.signature.plan) {}

  bool TakeArgument(napi_value value, Type type, uint64_t* word);
  void TakeMemory(napi_value value, const Memory& memory, uint64_t* word);
  void MergeRegions();
  void CopyRegions();
  void WriteBack();
  void Call();
  void Run();
  void Settle();
  void Reject();

  napi_env env_;
  const Slot& slot_;
  napi_deferred deferred_ = nullptr;
  napi_value promise_ = nullptr;

  CallFrame frame_;
  TemporaryStrings strings_;
  std::vector<napi_ref> references_;
  std::vector<Region> regions_;
  struct Pointer {
    uint64_t* word;
    const uint8_t* base;  // of the ArrayBuffer
    size_t offset;        // in the ArrayBuffer
  };
  std::vector<Pointer> pointers_;

  // From Begin() on.
  napi_async_work work_ = nullptr;
  std::shared_ptr<BoundTable> table_;
  std::shared_ptr<Image> image_;
  CallCount* calls_ = nullptr;  // of the image
  void* address_ = nullptr;

  // The result. Written on the pool's thread, read after it is done.
  CallResult result_{};
  int errno_ = 0;
  std::optional<std::string> text_;  // a returned string, copied at once
  bool threw_ = false;
  std::optional<std::string> what_;
};

}  // namespace soswap
