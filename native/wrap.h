#pragma once

#include <napi.h>

#include <memory>
#include <string>

namespace soswap {

// Shares one core object with one JavaScript object. `Derived` provides `kTag`, a type tag of its
// own, and `kName`. JavaScript cannot construct it; native code does, through Make().
template <typename Derived, typename Core>
class SharedWrap : public Napi::ObjectWrap<Derived> {
 public:
  static Napi::Object Make(const Napi::FunctionReference& constructor, std::shared_ptr<Core> core) {
    Napi::Env env = constructor.Env();
    return constructor.New({Napi::External<std::shared_ptr<Core>>::New(env, &core)});
  }

  // The core object behind a JavaScript value, or a TypeError for anything else.
  static std::shared_ptr<Core> Get(const Napi::Value& value) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&Derived::kTag)) {
      throw Napi::TypeError::New(value.Env(), std::string("not a native ") + Derived::kName);
    }
    return Derived::Unwrap(value.As<Napi::Object>())->core();
  }

 protected:
  explicit SharedWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Derived>(info) {
    if (!info[0].IsExternal()) {
      throw Napi::TypeError::New(
          info.Env(), std::string("a native ") + Derived::kName + " is not made by JavaScript");
    }
    core_ = *info[0].As<Napi::External<std::shared_ptr<Core>>>().Data();
    info.This().As<Napi::Object>().TypeTag(&Derived::kTag);
  }

  const std::shared_ptr<Core>& core() const {
    if (core_ == nullptr) {
      throw Napi::Error::New(this->Env(),
                             std::string("the native ") + Derived::kName + " is released");
    }
    return core_;
  }

  // Gives the core object up before the JavaScript object is collected.
  void Release() noexcept { core_.reset(); }

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace soswap
