#include "binding/call/nonblocking_call.h"

#include <cxxabi.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <iterator>
#include <new>
#include <tuple>
#include <utility>

#include "binding/call/call_errno.h"
#include "binding/call/call_error.h"
#include "core/tracking/thread_record.h"

namespace soswap {
namespace {

// Working copies begin at such a boundary of the ArrayBuffer and of memory, so that what was
// aligned in the one is aligned in the other.
constexpr size_t kAlignment = 64;

// Compares in strides, because most of the memory is usually left alone.
void WriteChanges(const uint8_t* before, const uint8_t* after, size_t length, uint8_t* target) {
  constexpr size_t kStride = 512;
  for (size_t begin = 0; begin < length; begin += kStride) {
    const size_t end = std::min(begin + kStride, length);
    if (std::memcmp(before + begin, after + begin, end - begin) == 0) continue;
    for (size_t index = begin; index < end; ++index) {
      if (before[index] != after[index]) target[index] = after[index];
    }
  }
}

}  // namespace

void NonblockingCall::Region::AlignedDelete::operator()(uint8_t* bytes) const noexcept {
  operator delete[](bytes, std::align_val_t{kAlignment});
}

std::unique_ptr<NonblockingCall> NonblockingCall::Make(napi_env env, const Slot& slot,
                                                       const napi_value* arguments) {
  std::unique_ptr<NonblockingCall> call(new NonblockingCall(env, slot));
  const Signature& signature = slot.signature;
  for (size_t index = 0; index < signature.argument_types.size(); ++index) {
    uint64_t* word = &call->frame_.words()[signature.plan.word(index)];
    if (!call->TakeArgument(arguments[index], signature.argument_types[index], word)) {
      ThrowArgument(env, slot, index, arguments[index]);
      return nullptr;
    }
  }
  call->CopyRegions();
  if (napi_create_promise(env, &call->deferred_, &call->promise_) != napi_ok) return nullptr;
  return call;
}

NonblockingCall::~NonblockingCall() {
  for (const Region& region : regions_) napi_delete_reference(env_, region.arraybuffer);
  for (napi_ref reference : references_) napi_delete_reference(env_, reference);
  if (work_ != nullptr) napi_delete_async_work(env_, work_);
  if (table_ != nullptr) {
    calls_->Leave();
    table_->ResolveSettled(env_);
  }
}

bool NonblockingCall::TakeArgument(napi_value value, Type type, uint64_t* word) {
  if (!IsPointerLike(type)) return ToScalarWord(env_, value, type, word);
  Memory memory;
  if (!GetMemory(env_, value, &memory)) return ToPointerWord(env_, value, type, strings_, word);
  TakeMemory(value, memory, word);
  return true;
}

void NonblockingCall::TakeMemory(napi_value value, const Memory& memory, uint64_t* word) {
  *word = reinterpret_cast<uint64_t>(memory.data);
  if (memory.data == nullptr) return;
  napi_ref reference = nullptr;
  bool can_be_detached = false;
  napi_is_arraybuffer(env_, memory.arraybuffer, &can_be_detached);
  if (!can_be_detached) {
    napi_create_reference(env_, value, 1, &reference);
    references_.push_back(reference);
    return;
  }

  const uint8_t* base = memory.data - memory.offset;
  const size_t begin = memory.offset & ~(kAlignment - 1);
  const size_t end = memory.offset + ByteLength(env_, value);
  pointers_.push_back({word, base, memory.offset});
  napi_create_reference(env_, memory.arraybuffer, 1, &reference);
  regions_.push_back({reference, base, begin, end, nullptr, nullptr});
}

void NonblockingCall::MergeRegions() {
  std::sort(regions_.begin(), regions_.end(), [](const Region& one, const Region& other) {
    return std::tie(one.base, one.begin) < std::tie(other.base, other.begin);
  });
  std::vector<Region> merged;
  for (Region& region : regions_) {
    if (!merged.empty() && merged.back().base == region.base && region.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, region.end);
      napi_delete_reference(env_, region.arraybuffer);
    } else {
      merged.push_back(std::move(region));
    }
  }
  regions_ = std::move(merged);
}

void NonblockingCall::CopyRegions() {
  MergeRegions();
  for (Region& region : regions_) {
    const uint8_t* original = region.base + region.begin;
    region.working.reset(new (std::align_val_t{kAlignment}) uint8_t[region.length()]);
    region.pristine.reset(new uint8_t[region.length()]);
    std::memcpy(region.working.get(), original, region.length());
    std::memcpy(region.pristine.get(), original, region.length());
  }
  for (const Pointer& pointer : pointers_) {
    // The last region that does not begin behind it; it is there.
    const auto after = std::find_if(regions_.begin(), regions_.end(), [&](const Region& region) {
      return std::tie(region.base, region.begin) > std::tie(pointer.base, pointer.offset);
    });
    const Region& region = *std::prev(after);
    *pointer.word =
        reinterpret_cast<uint64_t>(region.working.get() + (pointer.offset - region.begin));
  }
}

void NonblockingCall::WriteBack() {
  for (const Region& region : regions_) {
    napi_value arraybuffer;
    void* data = nullptr;
    size_t length = 0;  // 0 when detached
    napi_get_reference_value(env_, region.arraybuffer, &arraybuffer);
    napi_get_arraybuffer_info(env_, arraybuffer, &data, &length);
    if (length <= region.begin) continue;
    WriteChanges(region.pristine.get(), region.working.get(),
                 std::min(length, region.end) - region.begin,
                 static_cast<uint8_t*>(data) + region.begin);
  }
}

void NonblockingCall::Begin(std::unique_ptr<NonblockingCall> call) {
  napi_env env = call->env_;
  const Slot& slot = call->slot_;
  call->address_ = slot.address != nullptr ? slot.address : slot.supervised;
  if (call->address_ == nullptr) {
    ThrowRefusal(env, slot, 0);
    call->Reject();
    return;
  }
  call->image_ = slot.table->image();
  call->table_ = BoundTable::Of(slot).shared_from_this();
  call->calls_ = &call->table_->calls();
  call->calls_->Enter();

  napi_value name;
  napi_create_string_utf8(env, "soswap", NAPI_AUTO_LENGTH, &name);
  const auto execute = [](napi_env, void* data) { static_cast<NonblockingCall*>(data)->Run(); };
  const auto complete = [](napi_env, napi_status, void* data) {
    std::unique_ptr<NonblockingCall>(static_cast<NonblockingCall*>(data))->Settle();
  };
  if (napi_create_async_work(env, nullptr, name, execute, complete, call.get(), &call->work_) !=
          napi_ok ||
      napi_queue_async_work(env, call->work_) != napi_ok) {
    napi_throw_error(env, "ERR_SOSWAP_SYSTEM", "cannot queue the call");
    call->Reject();
    return;
  }
  static_cast<void>(call.release());  // `complete` has it
}

// On a thread of the pool.
void NonblockingCall::Call() {
  if (!slot_.signature.reports_errno) {
    result_ = frame_.Call(address_);
    return;
  }
  const FreshErrno fresh;
  result_ = frame_.Call(address_);
  errno_ = errno;
}

// On a thread of the pool.
void NonblockingCall::Run() {
  VisitThread();
  try {
    Call();
    if (slot_.signature.return_type == Type::kString && result_.integer != 0) {
      text_.emplace(reinterpret_cast<const char*>(result_.integer));
    }
  } catch (const abi::__forced_unwind&) {
    throw;
  } catch (const std::exception& exception) {
    threw_ = true;
    try {
      what_.emplace(exception.what());
    } catch (const std::bad_alloc&) {
      // Then the error has no text.
    }
  } catch (...) {
    threw_ = true;
  }
}

// When the environment is being torn down, JavaScript cannot run any more: what fails here then,
// fails unseen, and all memory is freed.
void NonblockingCall::Settle() {
  WriteBack();
  if (threw_) {
    ThrowNativeException(env_, slot_, what_ ? what_->c_str() : nullptr);
    Reject();
    return;
  }
  napi_value value = nullptr;
  if (text_) {
    const std::string& text = *text_;
    if (napi_create_string_utf8(env_, text.data(), text.size(), &value) != napi_ok) {
      ThrowStringTooLong(env_);
    }
  } else {
    value = ToResult(env_, slot_.signature.return_type, result_);
  }
  bool failed = false;
  napi_is_exception_pending(env_, &failed);
  if (!failed && slot_.signature.reports_errno) {
    value = WithErrno(env_, value, errno_);
    failed = value == nullptr;
  }
  if (failed) {
    Reject();
    return;
  }
  if (value == nullptr) napi_get_undefined(env_, &value);
  napi_resolve_deferred(env_, deferred_, value);
}

// Rejects with the exception that is pending.
void NonblockingCall::Reject() {
  napi_value error;
  if (napi_get_and_clear_last_exception(env_, &error) != napi_ok) return;
  napi_reject_deferred(env_, deferred_, error);
}

}  // namespace soswap
