#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

namespace soswap {

// Core objects that JavaScript knows by number. A JavaScript object for each would be freed by a
// finalizer only, which Node runs when the event loop turns: a program that swaps in a loop would
// pile them up.
template <typename Object>
class IdTable final {
 public:
  // Numbers the object. For tables whose numbers JavaScript does not choose.
  uint32_t Add(std::shared_ptr<Object> object) {
    objects_.emplace(++last_, std::move(object));
    return last_;
  }

  // Makes room for the object of this number, so that Put() takes no memory.
  void Reserve(uint32_t id) { objects_.try_emplace(id); }
  void Put(uint32_t id, std::shared_ptr<Object> object) { objects_[id] = std::move(object); }

  // The object; null if there is none.
  std::shared_ptr<Object> Find(uint32_t id) const {
    const auto found = objects_.find(id);
    return found == objects_.end() ? nullptr : found->second;
  }

  // The object, or a thrown TypeError.
  std::shared_ptr<Object> Get(const Napi::Value& id) const {
    auto object = id.IsNumber() ? Find(id.As<Napi::Number>()) : nullptr;
    if (object == nullptr) throw Napi::TypeError::New(id.Env(), "no such native object");
    return object;
  }

  // The same, and it is no longer known.
  std::shared_ptr<Object> Take(const Napi::Value& id) {
    std::shared_ptr<Object> object = Get(id);
    Remove(id.As<Napi::Number>());
    return object;
  }

  void Remove(uint32_t id) { objects_.erase(id); }

  void Clear() { std::exchange(objects_, {}).clear(); }

 private:
  uint32_t last_ = 0;
  std::unordered_map<uint32_t, std::shared_ptr<Object>> objects_;
};

}  // namespace soswap
