#include "core/tracking/thread_record.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <deque>
#include <iterator>
#include <mutex>
#include <new>
#include <utility>

#include "core/tracking/real_functions.h"

namespace soswap {
namespace {

constexpr uint64_t kCountMask = 0xFFFF'FFFF;
constexpr unsigned kGenerationBits = 32;

// pthread_key_create(3) has no more than these.
std::array<std::atomic<KeyRecord*>, PTHREAD_KEYS_MAX> keys_by_number{};

// The key whose values are the records; -1 if there is none.
int64_t RecordKey() {
  static const int64_t number = [] {
    pthread_key_t key = 0;
    return Real().key_create(&key, EndThread) == 0 ? int64_t{key} : int64_t{-1};
  }();
  return number;
}

void SetRecord(ThreadRecord* record) {
  const int64_t key = RecordKey();
  if (key < 0 || Real().set_specific(static_cast<pthread_key_t>(key), record) != 0) {
    throw std::bad_alloc();
  }
}

// Called by the C library as a thread_local destructor, once for each that is due.
void RunHook(void* /*nothing*/) {
  if (ThreadRecord* record = ThreadRecord::IfAny()) record->RunLast();
}

// Called by the C library at the end of a thread that has a value for a key of an image. The thunk
// of a deleted key may come late: Enter() refuses it.
void EndKeyValue(void* value, KeyRecord* key) {
  Tracking* tracking = key->tracking;
  if (!tracking->Enter(Tracked::kSetSpecific, key->incarnation)) return;
  // Entered first, so that the uses do not become 0 in between.
  if (ThreadRecord* record = ThreadRecord::IfAny()) record->SetValue(key, false);
  key->destructor(value);
  tracking->Leave(Tracked::kSetSpecific);
}

Thunks& KeyThunks() {
  static auto* thunks = new Thunks({{reinterpret_cast<uintptr_t>(EndKeyValue), 1}});
  return *thunks;
}

// Records of deleted keys. One is used again only after as many others as there can be keys: a
// thread that ends may have read the address of its thunk just before the key was deleted.
struct SpareKeys {
  std::mutex mutex;
  std::deque<KeyRecord*> records;
};
SpareKeys& TheSpareKeys() {
  static auto* spare = new SpareKeys;
  return *spare;
}

KeyRecord* NewKeyRecord() {
  {
    const std::lock_guard lock(TheSpareKeys().mutex);
    auto& records = TheSpareKeys().records;
    if (records.size() > PTHREAD_KEYS_MAX) {
      KeyRecord* record = records.front();
      records.pop_front();
      return record;
    }
  }
  const Thunks::Set thunk = KeyThunks().Make();
  if (thunk.code == 0) return nullptr;
  auto* record = new KeyRecord;
  record->thunk = thunk;
  *thunk.word = reinterpret_cast<uintptr_t>(record);
  return record;
}

// The values that threads have are values no more.
void Retire(KeyRecord* record) noexcept {
  Tracking* tracking = record->tracking;
  uint64_t state = record->state.load();
  while (!record->state.compare_exchange_weak(state, ((state >> kGenerationBits) + 1)
                                                         << kGenerationBits)) {
  }
  tracking->keys.fetch_sub(1);
  tracking->Leave(Tracked::kSetSpecific, state & kCountMask);
  try {
    const std::lock_guard lock(TheSpareKeys().mutex);
    TheSpareKeys().records.push_back(record);
  } catch (const std::bad_alloc&) {
    // It is never used again.
  }
}

KeyRecord* KeyNumbered(pthread_key_t key) noexcept {
  return key < keys_by_number.size() ? keys_by_number[key].load() : nullptr;
}

uint32_t GenerationOf(const KeyRecord& record) noexcept {
  return static_cast<uint32_t>(record.state.load() >> kGenerationBits);
}

}  // namespace

ThreadRecord& ThreadRecord::Here() {
  if (ThreadRecord* record = IfAny()) return *record;
  auto record = std::make_unique<ThreadRecord>();
  SetRecord(record.get());
  return *record.release();
}

ThreadRecord* ThreadRecord::IfAny() noexcept {
  const int64_t key = RecordKey();
  if (key < 0) return nullptr;
  return static_cast<ThreadRecord*>(Real().get_specific(static_cast<pthread_key_t>(key)));
}

std::unique_ptr<ThreadRecord> ThreadRecord::ForNew(Tracking* tracking, Tracked what) {
  if (RecordKey() < 0) throw std::bad_alloc();
  auto record = std::make_unique<ThreadRecord>();
  record->held_.reserve(1);
  tracking->Add(what);
  record->Hold(tracking, what);
  return record;
}

void ThreadRecord::Adopt(std::unique_ptr<ThreadRecord> record) noexcept {
  try {
    ThreadRecord* adopted = record.release();  // if it cannot be set, its use never ends
    SetRecord(adopted);
  } catch (const std::bad_alloc&) {
    // The image stays mapped.
  }
}

// No code of an image runs on this thread any more. The uses end last.
ThreadRecord::~ThreadRecord() {
  for (const Destructor& left : destructors_) left.use.tracking->Leave(left.use.what);
  for (const Value& value : values_) LeaveValue(value);
  for (const Use& use : held_) use.tracking->Leave(use.what);
}

void ThreadRecord::AddDestructor(Tracking* tracking, Tracked what, void (*function)(void*),
                                 void* object) {
  destructors_.push_back({{tracking, what}, tracking->incarnation(), function, object});
  tracking->Add(what);
  if (hooks_ >= destructors_.size()) return;
  // One hook for each destructor that is due keeps their place among those of other libraries.
  // Where a swap has run destructors early, their hooks serve again.
  static char here;
  if (Real().cxa_thread_atexit_impl(RunHook, nullptr, &here) == 0) {
    ++hooks_;
    return;
  }
  destructors_.pop_back();
  tracking->Leave(what);
  throw std::bad_alloc();
}

void ThreadRecord::RunLast() {
  if (hooks_ > 0) --hooks_;
  if (destructors_.empty()) return;
  const Destructor last = destructors_.back();
  destructors_.pop_back();
  if (last.use.tracking->IsNow(last.incarnation)) last.function(last.object);
  last.use.tracking->Leave(last.use.what);
}

void ThreadRecord::LeaveValue(const Value& value) noexcept {
  uint64_t state = value.key->state.load();
  do {
    if (state >> kGenerationBits != value.generation || (state & kCountMask) == 0) return;
  } while (!value.key->state.compare_exchange_weak(state, state - 1));
  value.key->tracking->Leave(Tracked::kSetSpecific);
}

void ThreadRecord::SetValue(KeyRecord* key, bool has_value) {
  const uint32_t generation = GenerationOf(*key);
  const auto found = std::find_if(values_.begin(), values_.end(), [&](const Value& value) {
    return value.key == key && value.generation == generation;
  });
  if (!has_value) {
    if (found == values_.end()) return;
    const Value value = *found;
    values_.erase(found);
    LeaveValue(value);
    return;
  }
  if (found != values_.end()) return;
  // Values of keys that are gone.
  std::erase_if(values_,
                [](const Value& value) { return GenerationOf(*value.key) != value.generation; });
  values_.push_back({key, generation});
  key->tracking->Add(Tracked::kSetSpecific);
  key->state.fetch_add(1);
}

bool ThreadRecord::RunKeys(Tracking* tracking) {
  std::vector<Value> due;
  std::copy_if(values_.begin(), values_.end(), std::back_inserter(due), [&](const Value& value) {
    return value.key->tracking == tracking && GenerationOf(*value.key) == value.generation;
  });
  for (const Value& value : due) {
    if (GenerationOf(*value.key) != value.generation) continue;  // one of them deleted the key
    void* data = Real().get_specific(value.key->key);
    Real().set_specific(value.key->key, nullptr);
    if (data != nullptr) value.key->destructor(data);
    if (Real().get_specific(value.key->key) == nullptr) SetValue(value.key, false);
  }
  return !due.empty();
}

// As at the end of a thread: thread_local destructors, the last first, then keys in rounds.
void ThreadRecord::Run(Tracking* tracking) {
  for (;;) {
    const auto last =
        std::find_if(destructors_.rbegin(), destructors_.rend(), [&](const Destructor& each) {
          return each.use.tracking == tracking && tracking->IsNow(each.incarnation);
        });
    if (last == destructors_.rend()) break;
    const Destructor due = *last;
    destructors_.erase(std::next(last).base());
    due.function(due.object);
    tracking->Leave(due.use.what);
  }
  for (int round = 0; round < PTHREAD_DESTRUCTOR_ITERATIONS; ++round) {
    if (!RunKeys(tracking)) break;
  }
}

void ThreadRecord::RunRetired() {
  std::vector<Tracking*> retired;
  const auto add = [&](Tracking* tracking) {
    if (tracking->waits() && std::find(retired.begin(), retired.end(), tracking) == retired.end()) {
      retired.push_back(tracking);
    }
  };
  for (const Destructor& each : destructors_) add(each.use.tracking);
  for (const Value& value : values_) {
    if (GenerationOf(*value.key) == value.generation) add(value.key->tracking);
  }
  for (Tracking* tracking : retired) Run(tracking);
}

void ThreadRecord::Forget(Tracking* tracking) noexcept {
  for (size_t index = destructors_.size(); index-- > 0;) {
    const Destructor each = destructors_[index];
    if (each.use.tracking != tracking || tracking->IsNow(each.incarnation)) continue;
    destructors_.erase(destructors_.begin() + static_cast<ptrdiff_t>(index));
    tracking->Leave(each.use.what);
  }
}

// The C library calls this in each of its rounds as long as the value is set again, after it has
// run all thread_local destructors. The round before the last is the last for this: sanitizers end
// their part of a thread in the last one, and their functions crash after that. What is left then
// are keys with values that destructors have set again and again; EndKeyValue() enters for them, or
// finds that their image is gone.
void EndThread(void* data) {
  auto* record = static_cast<ThreadRecord*>(data);
  const bool has_more = !record->held_.empty() || !record->values_.empty();
  if (has_more && ++record->rounds_ < PTHREAD_DESTRUCTOR_ITERATIONS - 1) {
    const auto key = static_cast<pthread_key_t>(RecordKey());
    if (Real().set_specific(key, record) == 0) return;
  }
  delete record;
}

void VisitThread() {
  if (!Real().enough) return;
  if (ThreadRecord* record = ThreadRecord::IfAny()) record->RunRetired();
}

int CreateKey(pthread_key_t* key, void (*destructor)(void*), Tracking* tracking) noexcept {
  try {
    KeyRecord* record = NewKeyRecord();
    if (record == nullptr) return ENOMEM;
    record->tracking = tracking;
    record->incarnation = tracking->incarnation();
    record->destructor = destructor;
    tracking->keys.fetch_add(1);
    // Nobody has a value yet, so nobody comes by the thunk before the next lines.
    void* thunk = reinterpret_cast<void*>(record->thunk.code);
    const int failed = Real().key_create(
        key, destructor == nullptr ? nullptr : reinterpret_cast<void (*)(void*)>(thunk));
    if (failed != 0) {
      Retire(record);
      return failed;
    }
    record->key = *key;
    if (*key < keys_by_number.size()) keys_by_number[*key].store(record);
    return 0;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

int DeleteKey(pthread_key_t key) noexcept {
  // First: the number may be given to another key at once.
  KeyRecord* record = key < keys_by_number.size() ? keys_by_number[key].exchange(nullptr) : nullptr;
  const int failed = Real().key_delete(key);
  if (record != nullptr) Retire(record);
  return failed;
}

int SetKey(pthread_key_t key, const void* value) noexcept {
  KeyRecord* record = KeyNumbered(key);
  if (record == nullptr || record->destructor == nullptr) return Real().set_specific(key, value);
  try {
    if (value != nullptr) ThreadRecord::Here().SetValue(record, true);
    const int failed = Real().set_specific(key, value);
    if (value == nullptr || failed != 0) {
      if (ThreadRecord* here = ThreadRecord::IfAny()) here->SetValue(record, false);
    }
    return failed;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

void DeleteKeysOf(Tracking* tracking) noexcept {
  for (size_t key = 0; key < keys_by_number.size(); ++key) {
    const KeyRecord* record = keys_by_number[key].load();
    if (record != nullptr && record->tracking == tracking) {
      DeleteKey(static_cast<pthread_key_t>(key));
    }
  }
}

}  // namespace soswap
