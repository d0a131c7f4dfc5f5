#include "core/call/call_frame.h"

namespace soswap {

CallPlan::CallPlan(std::span<const ArgumentClass> arguments) {
  words_.reserve(arguments.size());
  size_t integer_count = 0;
  for (const ArgumentClass argument : arguments) {
    if (argument == ArgumentClass::kInteger && integer_count < kIntegerRegisters) {
      words_.push_back(static_cast<uint32_t>(integer_count++));
    } else if (argument == ArgumentClass::kFloating && floating_count_ < kFloatingRegisters) {
      words_.push_back(static_cast<uint32_t>(kIntegerRegisters + floating_count_++));
    } else {
      words_.push_back(static_cast<uint32_t>(kRegisterWords + stack_count_++));
    }
  }
}

}  // namespace soswap
