#include "core/elf/notes.h"

#include <elf.h>

#include <string_view>

namespace soswap::elf {
namespace {

constexpr std::uint32_t kGoBuildId = 4;

struct Note {
  std::uint32_t type;
  std::string_view name;  // with its terminator
  std::uint64_t content_size;
  std::uint64_t content_at;
  std::uint64_t next_at;
  bool complete;
};

std::uint64_t RoundUp(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

std::optional<Note> NoteAt(const View& segment, std::uint64_t at, std::uint64_t alignment) {
  if (at > segment.size() || segment.size() - at < sizeof(Elf64_Nhdr)) return std::nullopt;
  const auto header = segment.Read<Elf64_Nhdr>(at);
  const std::uint64_t name_at = at + sizeof(header);
  Note note{};
  note.type = header.n_type;
  note.content_size = header.n_descsz;
  note.content_at = RoundUp(name_at + header.n_namesz, alignment);
  note.next_at = RoundUp(note.content_at + header.n_descsz, alignment);
  note.complete = note.content_at + header.n_descsz <= segment.size();
  if (note.complete) {
    const View name = segment.Part(name_at, header.n_namesz);
    if (name.size() > 0) note.name = std::string_view(name.Text(0).data(), name.size());
  }
  return note;
}

// Notes are aligned to 8 bytes only in a segment that is.
std::uint64_t NoteAlignment(std::uint64_t alignment) {
  return alignment == sizeof(Elf64_Xword) ? sizeof(Elf64_Xword) : sizeof(Elf64_Word);
}

std::string HexDigits(const View& content) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < content.size(); ++i) {
    const auto byte = content.At<unsigned char>(i);
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

}  // namespace

Notes ReadNotes(const View& segment, std::uint64_t alignment) {
  using namespace std::string_view_literals;
  Notes notes;
  std::uint64_t at = 0;
  while (const auto note = NoteAt(segment, at, NoteAlignment(alignment))) {
    if (!note->complete) break;
    if (note->type == NT_GNU_BUILD_ID && note->name == "GNU\0"sv) {
      notes.build_id = HexDigits(segment.Part(note->content_at, note->content_size));
    }
    if (note->type == kGoBuildId && note->name == "Go\0\0"sv) notes.is_go = true;
    at = note->next_at;
  }
  return notes;
}

void CheckProperties(const View& segment, std::uint64_t alignment) {
  if (alignment != sizeof(Elf64_Xword)) return;
  std::uint64_t at = 0;
  while (const auto note = NoteAt(segment, at, alignment)) {
    if (note->type == NT_GNU_PROPERTY_TYPE_0 && !note->complete) {
      Malformed("a note is longer than the segment that holds it");
    }
    at = note->next_at;
  }
}

}  // namespace soswap::elf
