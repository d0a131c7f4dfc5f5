#include "core/image/image.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/loader/loader_turn.h"
#include "core/resolve/inspected_snapshot.h"
#include "small_libraries.h"

using soswap::Error;
using soswap::Image;
using soswap::ImageOrigin;
using soswap::test::Workshop;

namespace {

ImageOrigin OriginAt(const std::string& path) {
  ImageOrigin origin;
  origin.path = path;
  return origin;
}

// An image that is another thread's: its close waits for the loader for as long as that takes.
constexpr pid_t kNoThread = -1;

std::shared_ptr<Image> OpenImage(const std::string& path, pid_t thread = 0) {
  auto inspected = TakeSnapshot(path, path, soswap::CopyPlan{});
  ImageOrigin origin = OriginAt(path);
  origin.thread = thread;
  origin.unload = inspected->unload;
  return Image::Open(std::move(origin), std::move(inspected), RTLD_NOW);
}

int Call(const Image& image, const std::string& symbol) {
  return reinterpret_cast<int (*)()>(image.Symbol(symbol).value())();
}

std::vector<std::string> Codes(const std::vector<soswap::RetainReason>& reasons) {
  std::vector<std::string> codes;
  for (const auto& reason : reasons) codes.push_back(reason.code);
  return codes;
}

constexpr const char* kCounter = "static int n; int count(void) { return ++n; }";

}  // namespace

TEST_CASE("two images of one file have a state of their own each") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kCounter);
  const auto one = OpenImage(path);
  const auto two = OpenImage(path);
  CHECK(Call(*one, "count") == 1);
  CHECK(Call(*one, "count") == 2);
  CHECK(Call(*two, "count") == 1);
  CHECK(one->base() != two->base());
  CHECK(one->loader_name() != two->loader_name());
}

TEST_CASE("a closed image is gone, and the list knows") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kCounter);
  const auto image = OpenImage(path);
  const auto listed = [&] {
    const auto images = soswap::LoadedImages();
    return std::count_if(images.begin(), images.end(),
                         [&](const auto& each) { return each.origin.path == path; });
  };
  CHECK(soswap::IsLoaded(image->loader_name()));
  CHECK(listed() == 1);
  CHECK(image->Close().empty());
  CHECK_FALSE(soswap::IsLoaded(image->loader_name()));
  CHECK(listed() == 0);
}

TEST_CASE("an image that the loader keeps is found and listed with its reason") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kCounter, "-Wl,-z,nodelete");
  const auto image = OpenImage(path);
  CHECK(Codes(image->Close()) == std::vector<std::string>{"nodelete"});
  CHECK(soswap::IsLoaded(image->loader_name()));
  const auto images = soswap::LoadedImages();
  const auto found = std::find_if(images.begin(), images.end(), [&](const auto& each) {
    return each.loader_name == image->loader_name();
  });
  REQUIRE(found != images.end());
  CHECK(Codes(found->retained) == std::vector<std::string>{"nodelete"});
}

TEST_CASE("what retained images hold is counted") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so",
                                     "char data[1 << 20]; void fill(void) { for (int i = 0; "
                                     "i < 1 << 20; ++i) ((volatile char*)data)[i] = 1; }");
  const auto before = soswap::RetainedImages();
  const auto image = OpenImage(path);
  const std::string name = image->loader_name();
  const std::vector<std::string> names{name, "/none", name};
  const auto small = soswap::HeldBytes(names);
  CHECK(small[0].value() > 0);
  CHECK_FALSE(small[1].has_value());
  CHECK(small[2] == small[0]);
  CHECK(soswap::AreLoaded(names) == std::vector<bool>{true, false, true});
  CHECK(soswap::RetainedImagesOf(path) == 0);

  reinterpret_cast<void (*)()>(image->Symbol("fill").value())();
  constexpr uint64_t kFilled = 1 << 20;
  CHECK(soswap::HeldBytes(names)[0].value() >= small[0].value() + kFilled - 4096);
  image->Keep({{"kept", "for the test"}});
  const auto after = soswap::RetainedImages();
  CHECK(after.images == before.images + 1);
  CHECK(after.bytes >= before.bytes + kFilled);
  CHECK(soswap::RetainedImagesOf(path) == 1);
}

TEST_CASE("an image that stayed can be taken back as it was") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kCounter, "-Wl,-z,nodelete");
  const auto image = OpenImage(path);
  CHECK(Call(*image, "count") == 1);
  const auto inspected = image->inspected();
  image->Close();
  const auto again = Image::OpenAgain(*image, inspected, {}, true);
  CHECK(again->loader_name() == image->loader_name());
  CHECK(Call(*again, "count") == 2);
  again->Close();
}

TEST_CASE("an image that is gone can be loaded again from its copy, whatever the file is by now") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kCounter);
  const auto image = OpenImage(path);
  CHECK(Call(*image, "count") == 1);
  const auto inspected = image->inspected();
  CHECK(image->Close().empty());
  workshop.Compile("lib.so", "int other(void) { return 1; }");
  const auto again = Image::OpenAgain(*image, inspected, {}, false);
  CHECK(Call(*again, "count") == 1);
  CHECK(again->Close().empty());
}

TEST_CASE("an absent symbol is distinguished from one at the address null") {
  const Workshop workshop;
  const auto image = OpenImage(workshop.Compile("lib.so", kCounter));
  CHECK(image->Symbol("count").has_value());
  CHECK_FALSE(image->Symbol("absent").has_value());
}

TEST_CASE("the file itself is not opened while an older one has its name") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kCounter);
  void* handle = dlopen(path.c_str(), RTLD_NOW);
  REQUIRE(handle != nullptr);
  workshop.Compile("lib.so", "int other(void) { return 1; }");
  const auto open = [&] {
    auto inspected = TakeSnapshot(path, path, soswap::CopyPlan{});
    ImageOrigin origin = OriginAt(path);
    origin.source = inspected->snapshot->source();
    Image::OpenDirect(std::move(origin), std::move(inspected), RTLD_NOW);
  };
  CHECK_THROWS_AS(open(), Error);
  dlclose(handle);
  CHECK_NOTHROW(open());
}

TEST_CASE("threads open, call and close images of one file at once") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kCounter);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int number = 0; number < 4; ++number) {
    threads.emplace_back([&] {
      for (int round = 0; round < 25; ++round) {
        const auto image = OpenImage(path, kNoThread);
        if (Call(*image, "count") != 1 || !image->Close().empty()) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("an image finds its symbols as dlsym(3) does") {
  const Workshop workshop;
  const auto needed = workshop.Compile("libneeded.so", "int of_needed(void) { return 7; }");
  const auto path = workshop.Compile(
      "lib.so",
      "int plain(void) { return 1; }\n"
      "int data = 2;\n"
      "__attribute__((weak)) int weak(void) { return 3; }\n"
      "__attribute__((visibility(\"hidden\"))) int hidden(void) { return 4; }\n"
      "static int resolved(void) { return 5; }\n"
      "static int (*resolve(void))(void) { return resolved; }\n"
      "__attribute__((ifunc(\"resolve\"))) int indirect(void);\n"
      "__thread int local;\n"
      "__asm__(\".globl absolute\\n.set absolute, 4096\");\n"
      "__asm__(\".globl unique\\n.type unique, %gnu_unique_object\\n.data\\nunique: .long 6\\n"
      ".size unique, 4\\n.text\");\n"
      "int first(void) { return 8; }\n"
      "int second(void) { return 9; }\n"
      "__asm__(\".symver first, versioned@V1\");\n"
      "__asm__(\".symver second, versioned@@V2\");\n"
      "int main(void);\n",
      soswap::test::Quoted(needed) + " -Wl,--version-script=" + soswap::test::Quoted([&] {
        soswap::test::WriteText(workshop / "versions", "V1 { }; V2 { } V1;");
        return workshop / "versions";
      }()));
  const auto image = OpenImage(path);
  void* handle = dlopen(image->loader_name().c_str(), RTLD_NOW | RTLD_NOLOAD);
  REQUIRE(handle != nullptr);
  for (const char* name : {"plain", "data", "weak", "hidden", "indirect", "local", "absolute",
                           "unique", "versioned", "first", "of_needed", "absent", "malloc", ""}) {
    CAPTURE(name);
    dlerror();
    void* found = dlsym(handle, name);
    const bool exists = dlerror() == nullptr;
    CHECK(image->Symbol(name).has_value() == exists);
    CHECK(image->Symbol(name).value_or(nullptr) == found);
  }
  dlclose(handle);
  image->Close();
}

TEST_CASE("symbols of an image are found, and a close gives way, while a constructor runs") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kCounter);
  const auto gate = workshop / "gate";
  const auto slow = workshop.Compile("slow.so",
                                     "#include <unistd.h>\n"
                                     "__attribute__((constructor)) static void wait(void) {\n"
                                     "  while (access(\"" +
                                         gate + "\", F_OK) != 0) usleep(1000); }");
  const auto image = OpenImage(path);
  const auto other = OpenImage(path);
  const auto loader_name = image->loader_name();
  std::thread load([&] { OpenImage(slow); });
  while (soswap::LoaderTurn(std::chrono::milliseconds(0)).taken()) std::this_thread::yield();
  CHECK(Call(*image, "count") == 1);
  CHECK(Codes(image->Close()) == std::vector<std::string>{"loader-busy"});
  CHECK(soswap::SweepWaiting() == 1);
  soswap::test::WriteText(gate, "");
  load.join();
  CHECK(soswap::IsLoaded(loader_name));
  CHECK(soswap::SweepWaiting() == 0);
  CHECK_FALSE(soswap::IsLoaded(loader_name));
  CHECK(other->Close().empty());
}
