#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

namespace soswap {

// Core objects that JavaScript knows by number. A JavaScript object for each would be freed by a
// finalizer only, which Node runs when the event loop turns: a program that swaps in a loop would
// pile them up.
template <typename Object>
class IdTable final {
 public:
  uint32_t Add(std::shared_ptr<Object> object) {
    objects_.emplace(++last_, std::move(object));
    return last_;
  }

  // The object, or a thrown TypeError.
  const std::shared_ptr<Object>& Get(const Napi::Value& id) const {
    const auto found = id.IsNumber() ? objects_.find(id.As<Napi::Number>()) : objects_.end();
    if (found == objects_.end()) throw Napi::TypeError::New(id.Env(), "no such native object");
    return found->second;
  }

  // The same, and it is no longer known.
  std::shared_ptr<Object> Take(const Napi::Value& id) {
    std::shared_ptr<Object> object = Get(id);
    Remove(id);
    return object;
  }

  void Remove(const Napi::Value& id) { objects_.erase(id.As<Napi::Number>()); }

 private:
  uint32_t last_ = 0;
  std::unordered_map<uint32_t, std::shared_ptr<Object>> objects_;
};

}  // namespace soswap
