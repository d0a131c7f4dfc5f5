#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace soswap {

// A name for DT_NEEDED that means nothing else: no other of these has it while this exists, and no
// loaded object had it when it was made. Begins with a control character, as no file does that a
// linker made. Any thread.
class ProvidedName final {
 public:
  // Of this many characters, 1 or more. Throws Error (kSystem) about the library at `subject` if
  // all names of the length are taken: there are 31 with one character, and 123,039 with three.
  ProvidedName(std::size_t length, const std::string& subject);
  ProvidedName(const ProvidedName&) = delete;
  ProvidedName& operator=(const ProvidedName&) = delete;
  ~ProvidedName();

  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

// Whether it is the text of one.
bool IsProvidedName(std::string_view name) noexcept;

}  // namespace soswap
