#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/copy/copy_plan.h"
#include "core/elf/edit.h"

namespace soswap {

// Functions of this process, by the names under which libraries import others.
class BoundImports final {
 public:
  struct Function {
    std::string_view name;  // a literal
    uintptr_t address;
  };

  explicit BoundImports(std::vector<Function> functions);

  // 0 if there is none of this name.
  uintptr_t AddressOf(std::string_view name) const noexcept;

 private:
  std::vector<Function> functions_;  // by name
};

// The edit that binds a private copy's imports of these names, in whatever version, to the
// functions: the undefined symbol becomes a local, hidden, absolute one. `imports` must outlive the
// edit, and the functions every image of the copy, so their object is never unmapped from then on.
//
// What the loader makes of such a symbol (glibc from 2.28 on, elf/dl-reloc.c, dl-runtime.c): it
// looks for no definition of a local symbol (RESOLVE_MAP) nor, when it binds lazily, of a hidden
// one (_dl_fixup), and it takes the value of an absolute one as it is (SYMBOL_ADDRESS). So the
// address gets into calls, the GOT and data, and no name gets into anybody's scope. .gnu.version
// and DT_VERNEED stay: the loader checks the latter alone. A definition, a variable, and a
// thread-local of the name are left alone. A weak import is bound too.
//
// In a process whose loader does otherwise, see WhyImportsStayUnbound(), nothing is bound. A copy
// that another process has bound (see quarantine) is bound anew; where nothing can be bound, it is
// refused with an Error (kLoader).
Edit BindImports(const BoundImports& imports);

// The same, and binds what core/tracking/ tracks to functions of each copy's own, so that it is
// known whether code of its image may still run. `count`: what images take and give back is counted
// too, see core/tracking/account.h.
Binding BindAndTrack(const BoundImports& imports, bool count = false);

// Why the loader of this process does not take bound imports, empty if it does. Asks the loader
// once, with an object made for that. Any thread.
const std::string& WhyImportsStayUnbound();

}  // namespace soswap
