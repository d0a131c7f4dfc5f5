#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/tracking/tracking.h"

namespace soswap {

// A key that an image created. `state`: the generation of the record, and below it how many threads
// have a value. Never freed; used again after many others.
struct KeyRecord {
  Tracking* tracking = nullptr;
  uint32_t incarnation = 0;
  void (*destructor)(void*) = nullptr;
  unsigned key = 0;
  std::atomic<uint64_t> state{0};
  Thunks::Set thunk;
};

// What tracked images have due at the end of one thread. Belongs to that thread, which alone
// touches it, and lives as the value of a key of soswap: that key's destructor runs after all
// thread_local destructors, and again in each round of key destructors up to the last but one.
class ThreadRecord final {
 public:
  // Of this thread. Throws std::bad_alloc.
  static ThreadRecord& Here();
  static ThreadRecord* IfAny() noexcept;

  // One for a thread that will be started, with a use of the image that ends with the thread.
  static std::unique_ptr<ThreadRecord> ForNew(Tracking* tracking, Tracked what);
  // Makes it the record of this thread, which has none.
  static void Adopt(std::unique_ptr<ThreadRecord> record) noexcept;

  ThreadRecord() = default;
  ThreadRecord(const ThreadRecord&) = delete;
  ThreadRecord& operator=(const ThreadRecord&) = delete;
  ~ThreadRecord();

  // A use that ends with this thread; it was added before.
  void Hold(Tracking* tracking, Tracked what) { held_.push_back({tracking, what}); }
  void AddDestructor(Tracking* tracking, Tracked what, void (*function)(void*), void* object);
  void SetValue(KeyRecord* key, bool has_value);
  void RunLast();
  // Runs what is due of this image; or forgets it.
  void Run(Tracking* tracking);
  void Forget(Tracking* tracking) noexcept;
  // Runs what is due of images that end or wait.
  void RunRetired();

 private:
  struct Use {
    Tracking* tracking;
    Tracked what;
  };
  struct Destructor {
    Use use;
    uint32_t incarnation;
    void (*function)(void*);
    void* object;
  };
  struct Value {
    KeyRecord* key;
    uint32_t generation;
  };

  friend void EndThread(void* record);
  static void LeaveValue(const Value& value) noexcept;
  bool RunKeys(Tracking* tracking);

  std::vector<Destructor> destructors_;
  std::vector<Value> values_;
  std::vector<Use> held_;
  size_t hooks_ = 0;  // registered with the C library
  unsigned rounds_ = 0;
};

// The thread ends: the destructor of the key.
void EndThread(void* record);

// Runs what is due on this thread of images that were given up. Cheap if there is nothing.
void VisitThread();

// Keys that images created.
int CreateKey(pthread_key_t* key, void (*destructor)(void*), Tracking* tracking) noexcept;
int DeleteKey(pthread_key_t key) noexcept;
int SetKey(pthread_key_t key, const void* value) noexcept;
void DeleteKeysOf(Tracking* tracking) noexcept;

}  // namespace soswap
