#include "core/loader/object_symbols.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <string>

#include "small_libraries.h"

using soswap::LoadedObject;
using soswap::LoadedObjects;
using soswap::ObjectSymbols;
using soswap::test::Workshop;

TEST_CASE("the symbols of a loaded object are those that dlsym(3) finds in it") {
  const Workshop workshop;
  const std::string source =
      "int shared_name = 7; static int mine; int answer(void) { return mine + 42; }"
      "__attribute__((visibility(\"hidden\"))) int hidden(void) { return 1; }"
      "extern int absent(void) __attribute__((weak)); int ask(void) { return absent != 0; }";
  const std::string path = workshop.Compile("library.so", source);
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(handle != nullptr);
  {
    const LoadedObjects objects = LoadedObjects::List();
    const ObjectSymbols symbols(*objects.Find(path));
    for (const char* name : {"shared_name", "answer", "ask"}) {
      const Elf64_Sym* found = symbols.Find(name);
      REQUIRE(found != nullptr);
      CHECK(symbols.AddressOf(*found) == dlsym(handle, name));
    }
    for (const char* name : {"hidden", "mine", "absent", "printf", "", "answe"}) {
      CHECK(symbols.Find(name) == nullptr);
    }
    const auto start = objects.AtStart();
    CHECK(start.front()->name.empty());
    for (const LoadedObject* object : start) CHECK(object->name != path);
  }
  dlclose(handle);
}
