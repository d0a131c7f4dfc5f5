#include "core/image/image.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
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

std::shared_ptr<Image> OpenImage(const std::string& path) {
  auto inspected = TakeSnapshot(path, path, soswap::CopyPlan{});
  ImageOrigin origin = OriginAt(path);
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
  const auto again = Image::OpenAgain(*image, inspected, true);
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
  const auto again = Image::OpenAgain(*image, inspected, false);
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
    Image::OpenDirect(OriginAt(path), TakeSnapshot(path, path, soswap::CopyPlan{}), RTLD_NOW);
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
        const auto image = OpenImage(path);
        if (Call(*image, "count") != 1 || !image->Close().empty()) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}
