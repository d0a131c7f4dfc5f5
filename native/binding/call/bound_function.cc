#include "binding/call/bound_function.h"

#include <cxxabi.h>

#include <array>
#include <cerrno>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "binding/call/call_errno.h"
#include "binding/call/call_error.h"
#include "binding/call/convert.h"
#include "binding/call/nonblocking_call.h"

namespace soswap {
namespace {

// Counts a call in flight, also when an exception ends it. A swap or close() that JavaScript asks
// for during the call, from a callback, sees the count and refuses.
class InFlight final {
 public:
  explicit InFlight(SlotTable& table) noexcept : calls_(table.calls()) { calls_.Enter(); }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;
  ~InFlight() { calls_.Leave(); }

 private:
  CallCount& calls_;
};

// Runs `call`, which returns a CallResult, and makes the JavaScript result of it.
template <typename NativeCall>
inline napi_value Complete(napi_env env, const Slot& slot, NativeCall call) {
  const InFlight in_flight(*slot.table);
  try {
    // An exception that a callback into JavaScript left pending stays as it is: making the result
    // does not touch it.
    return ToResult(env, slot.signature.return_type, call());
  } catch (const abi::__forced_unwind&) {
    throw;  // the thread is being cancelled
  } catch (const std::exception& exception) {
    ThrowNativeException(env, slot, exception.what());
  } catch (...) {
    ThrowNativeException(env, slot, nullptr);
  }
  return nullptr;
}

// The same, with errno of the call beside the result. Takes it before anything else can change it,
// and leaves errno of the thread as it was.
template <typename NativeCall>
napi_value CompleteWithErrno(napi_env env, const Slot& slot, NativeCall call) {
  int error_number = 0;
  napi_value value = Complete(env, slot, [&] {
    const FreshErrno fresh;
    const CallResult result = call();
    error_number = errno;
    return result;
  });
  bool failed = false;
  napi_is_exception_pending(env, &failed);
  return failed ? nullptr : WithErrno(env, value, error_number);
}

napi_callback CallbackFor(const Signature& signature);

// What becomes of a call that is not to be made at once: it is refused; or its slot is supervised,
// and it is made and told.
[[gnu::cold, gnu::noinline]] napi_value CallUnusual(napi_env env, napi_callback_info info,
                                                    const Slot& slot, size_t count) {
  if (slot.supervised == nullptr || slot.address != nullptr) {
    ThrowRefusal(env, slot, count);
    return nullptr;
  }
  auto& supervised = const_cast<Slot&>(slot);
  const auto table = BoundTable::Of(slot).shared_from_this();  // the call may close it
  supervised.address = supervised.supervised;
  napi_value result = CallbackFor(slot.signature)(env, info);
  // Still under supervision: no callback of the call has ended it.
  if (supervised.supervised != nullptr) supervised.address = nullptr;
  table->TellObserver(env, slot, result);
  return result;
}

// The callbacks behind bound functions, from the most general one to the cheapest. CallbackFor()
// chooses when the function is made. They differ in speed only; bench/calls.ts measures it.

// Any signature.
template <bool kErrno>
napi_value CallAny(napi_env env, napi_callback_info info) {
  std::array<napi_value, 8> few;
  size_t count = few.size();
  void* data;
  napi_get_cb_info(env, info, &count, few.data(), nullptr, &data);
  const Slot& slot = *static_cast<const Slot*>(data);
  const Signature& signature = slot.signature;
  void* const address = slot.address;
  if (address == nullptr || count != signature.argument_types.size()) [[unlikely]] {
    return CallUnusual(env, info, slot, count);
  }
  napi_value* arguments = few.data();
  std::vector<napi_value> many;
  if (count > few.size()) {
    many.resize(count);
    arguments = many.data();
    napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  }

  CallFrame frame(signature.plan);
  TemporaryStrings strings;
  for (size_t index = 0; index < count; ++index) {
    const Type type = signature.argument_types[index];
    uint64_t* word = &frame.words()[signature.plan.word(index)];
    const bool fits = IsPointerLike(type)
                          ? ToPointerWord(env, arguments[index], type, strings, word)
                          : ToScalarWord(env, arguments[index], type, word);
    if (!fits) [[unlikely]] {
      ThrowArgument(env, slot, index, arguments[index]);
      return nullptr;
    }
  }
  const auto call = [&] { return frame.Call(address); };
  return kErrno ? CompleteWithErrno(env, slot, call) : Complete(env, slot, call);
}

napi_value RejectedWithPending(napi_env env) {
  napi_value error;
  napi_value promise = nullptr;
  napi_deferred deferred;
  if (napi_get_and_clear_last_exception(env, &error) == napi_ok &&
      napi_create_promise(env, &deferred, &promise) == napi_ok) {
    napi_reject_deferred(env, deferred, error);
  }
  return promise;
}

// Any signature, on the thread pool. Whatever is wrong rejects the promise.
napi_value CallNonblocking(napi_env env, napi_callback_info info) {
  size_t count = 0;
  void* data;
  napi_get_cb_info(env, info, &count, nullptr, nullptr, &data);
  const Slot& slot = *static_cast<const Slot*>(data);
  BoundTable& table = BoundTable::Of(slot);
  if (slot.address == nullptr && slot.supervised != nullptr) {
    return CallUnusual(env, info, slot, count);
  }
  if (slot.address == nullptr && !table.held()) {
    ThrowRefusal(env, slot, count);
    return RejectedWithPending(env);
  }
  if (count != slot.signature.argument_types.size()) {
    ThrowArgumentCount(env, slot, count);
    return RejectedWithPending(env);
  }
  try {
    std::vector<napi_value> arguments(count);
    napi_get_cb_info(env, info, &count, arguments.data(), nullptr, nullptr);
    auto call = NonblockingCall::Make(env, slot, arguments.data());
    if (call == nullptr) return RejectedWithPending(env);
    napi_value promise = call->promise();
    table.Begin(std::move(call));
    return promise;
  } catch (const std::bad_alloc&) {
    ThrowOutOfMemory(env, slot);
    return RejectedWithPending(env);
  }
}

// What the cheaper callbacks begin with: room for exactly the arguments there should be. Null: the
// call is not to be made at once, and `unusual` is what it returns.
template <size_t kCount>
inline const Slot* Begin(napi_env env, napi_callback_info info,
                         std::array<napi_value, kCount>& arguments, napi_value& unusual) {
  size_t count = kCount;
  void* data;
  napi_get_cb_info(env, info, &count, kCount > 0 ? arguments.data() : nullptr, nullptr, &data);
  const auto* slot = static_cast<const Slot*>(data);
  if (slot->address == nullptr || count != kCount) [[unlikely]] {
    unusual = CallUnusual(env, info, *slot, count);
    return nullptr;
  }
  return slot;
}

// Arguments that all travel in registers.
template <size_t kCount, bool kPointers>
napi_value CallRegisters(napi_env env, napi_callback_info info) {
  std::array<napi_value, kCount> arguments;
  napi_value unusual = nullptr;
  const Slot* slot = Begin(env, info, arguments, unusual);
  if (slot == nullptr) [[unlikely]]
    return unusual;
  const Type* types = slot->signature.argument_types.data();
  const CallPlan& plan = slot->signature.plan;
  uint64_t words[kRegisterWords];
  std::conditional_t<kPointers, TemporaryStrings, std::monostate> strings;
  for (size_t index = 0; index < kCount; ++index) {
    const Type type = types[index];
    uint64_t* word = &words[plan.word(index)];
    bool fits;
    if constexpr (kPointers) {
      fits = IsPointerLike(type) ? ToPointerWord(env, arguments[index], type, strings, word)
                                 : ToScalarWord(env, arguments[index], type, word);
    } else {
      fits = ToScalarWord(env, arguments[index], type, word);
    }
    if (!fits) [[unlikely]] {
      ThrowArgument(env, *slot, index, arguments[index]);
      return nullptr;
    }
  }
  return Complete(env, *slot,
                  [&] { return soswap_call(slot->address, words, 0, plan.floating_count()); });
}

// Integers of at most 32 bits, and no floating-point result. All of them travel in integer
// registers, widened to 64 bits, so a function pointer with 64-bit parameters calls any such
// function.
template <size_t... kIndexes>
napi_value CallIntegers(napi_env env, napi_callback_info info) {
  constexpr size_t kCount = sizeof...(kIndexes);
  std::array<napi_value, kCount> arguments;
  napi_value unusual = nullptr;
  const Slot* slot = Begin(env, info, arguments, unusual);
  if (slot == nullptr) [[unlikely]]
    return unusual;
  const Type* types = slot->signature.argument_types.data();
  std::array<uint64_t, kCount> words;
  size_t taken = 0;
  [[maybe_unused]] const auto take = [&](size_t index) {
    taken = index;
    return ToNarrowWord(env, arguments[index], NarrowRange(types[index]), &words[index]);
  };
  if (!(take(kIndexes) && ...)) [[unlikely]] {
    ThrowArgument(env, *slot, taken, arguments[taken]);
    return nullptr;
  }
  return Complete(env, *slot, [&] {
    using Native = uint64_t (*)(decltype(uint64_t{kIndexes})...);
    return CallResult{reinterpret_cast<Native>(slot->address)(words[kIndexes]...), 0};
  });
}

// Doubles only, and a double returned.
template <size_t... kIndexes>
napi_value CallDoubles(napi_env env, napi_callback_info info) {
  constexpr size_t kCount = sizeof...(kIndexes);
  std::array<napi_value, kCount> arguments;
  napi_value unusual = nullptr;
  const Slot* slot = Begin(env, info, arguments, unusual);
  if (slot == nullptr) [[unlikely]]
    return unusual;
  std::array<double, kCount> numbers;
  size_t taken = 0;
  [[maybe_unused]] const auto take = [&](size_t index) {
    taken = index;
    return napi_get_value_double(env, arguments[index], &numbers[index]) == napi_ok;
  };
  if (!(take(kIndexes) && ...)) [[unlikely]] {
    ThrowArgument(env, *slot, taken, arguments[taken]);
    return nullptr;
  }
  return Complete(env, *slot, [&] {
    using Native = double (*)(decltype(kIndexes, double{})...);
    return CallResult{0, reinterpret_cast<Native>(slot->address)(numbers[kIndexes]...)};
  });
}

// For callbacks that may need memory for arguments. Flattened, so that they cost no call more.
template <napi_callback kCallback>
[[gnu::flatten]] napi_value OrOutOfMemory(napi_env env, napi_callback_info info) {
  try {
    return kCallback(env, info);
  } catch (const std::bad_alloc&) {
    void* data;
    napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
    ThrowOutOfMemory(env, *static_cast<const Slot*>(data));
    return nullptr;
  }
}

template <size_t... kCounts>
constexpr auto ScalarCallbacks(std::index_sequence<kCounts...>) {
  return std::array<napi_callback, sizeof...(kCounts)>{CallRegisters<kCounts, false>...};
}

template <size_t... kCounts>
constexpr auto PointerCallbacks(std::index_sequence<kCounts...>) {
  return std::array<napi_callback, sizeof...(kCounts)>{
      OrOutOfMemory<CallRegisters<kCounts, true>>...};
}

// By the number of arguments.
constexpr auto kScalars = ScalarCallbacks(std::make_index_sequence<7>());
constexpr auto kPointers = PointerCallbacks(std::make_index_sequence<7>());
constexpr std::array<napi_callback, 5> kIntegers = {CallIntegers<>, CallIntegers<0>,
                                                    CallIntegers<0, 1>, CallIntegers<0, 1, 2>,
                                                    CallIntegers<0, 1, 2, 3>};
constexpr std::array<napi_callback, 5> kDoubles = {CallDoubles<>, CallDoubles<0>, CallDoubles<0, 1>,
                                                   CallDoubles<0, 1, 2>, CallDoubles<0, 1, 2, 3>};

template <typename Predicate>
bool All(const std::vector<Type>& types, Predicate predicate) {
  for (const Type type : types) {
    if (!predicate(type)) return false;
  }
  return true;
}

napi_callback CallbackFor(const Signature& signature) {
  if (signature.nonblocking) return CallNonblocking;
  if (signature.reports_errno) return OrOutOfMemory<CallAny<true>>;
  const std::vector<Type>& types = signature.argument_types;
  const size_t count = types.size();
  const Type result = signature.return_type;
  const bool floating_result = result == Type::kFloat32 || result == Type::kFloat64;
  if (count < kIntegers.size() && !floating_result && All(types, IsNarrow)) {
    return kIntegers[count];
  }
  if (count < kDoubles.size() && result == Type::kFloat64 &&
      All(types, [](Type type) { return type == Type::kFloat64; })) {
    return kDoubles[count];
  }
  if (count < kScalars.size() && signature.plan.stack_count() == 0) {
    const bool scalars = All(types, [](Type type) { return !IsPointerLike(type); });
    return scalars ? kScalars[count] : kPointers[count];
  }
  return OrOutOfMemory<CallAny<false>>;
}

}  // namespace

napi_value CreateBoundFunction(napi_env env, std::shared_ptr<BoundTable> table, const Slot* slot) {
  napi_value value;
  // The slot itself is what a call gets: the fewer steps to the address, the cheaper the call.
  if (napi_create_function(env, slot->symbol.data(), slot->symbol.size(),
                           CallbackFor(slot->signature), const_cast<Slot*>(slot),
                           &value) != napi_ok) {
    return nullptr;
  }
  using TableReference = std::shared_ptr<BoundTable>;
  auto reference = std::make_unique<TableReference>(std::move(table));
  const auto drop_reference = [](napi_env, void* data, void*) {
    delete static_cast<TableReference*>(data);
  };
  if (napi_add_finalizer(env, value, reference.get(), drop_reference, nullptr, nullptr) !=
      napi_ok) {
    return nullptr;
  }
  static_cast<void>(reference.release());

  napi_value count;
  napi_create_uint32(env, static_cast<uint32_t>(slot->signature.argument_types.size()), &count);
  const napi_property_descriptor length = {"length", nullptr, nullptr,           nullptr,
                                           nullptr,  count,   napi_configurable, nullptr};
  return napi_define_properties(env, value, 1, &length) == napi_ok ? value : nullptr;
}

}  // namespace soswap
