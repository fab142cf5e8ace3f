// SPDX-License-Identifier: Apache-2.0
#include "zoq/sparse/mask.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"

using zoq::mask;
using zoq::test::message_of;

namespace {

mask two_tensors() {
  mask m;
  m.tensors.push_back({"a", 2, 4, {0, 3, 7}});
  m.tensors.push_back({"b", 3, 2, {1, 5}});
  return m;
}

}  // namespace

TEST_CASE("mask: counts its entries") {
  CHECK(mask{}.count() == 0);
  CHECK(two_tensors().count() == 5);
}

TEST_CASE("mask: what is well formed is valid") {
  two_tensors().validate();
  mask{}.validate();
  mask empty;
  empty.tensors.push_back({"a", 1, 1, {}});
  empty.validate();
  mask largest;
  largest.tensors.push_back({"a", 1, 2147483647, {2147483646}});
  largest.validate();
}

TEST_CASE("mask: what is not is refused, with tensor and place") {
  const auto error_of = [](auto change) {
    mask m = two_tensors();
    change(m);
    return message_of([&] { m.validate(); });
  };
  CHECK(error_of([](mask& m) { m.tensors[0].index[1] = 0; }) ==
        "mask: a: index 0 at place 1 does not ascend from 0");
  CHECK(error_of([](mask& m) {
          m.tensors[0].index = {3, 1};
        }) == "mask: a: index 1 at place 1 does not ascend from 3");
  CHECK(error_of([](mask& m) { m.tensors[1].index[0] = -1; }) ==
        "mask: b: index -1 at place 0 does not ascend from -1");
  CHECK(error_of([](mask& m) { m.tensors[1].index[1] = 6; }) ==
        "mask: b: index 6 at place 1 is outside 3 x 2");
  CHECK(error_of([](mask& m) { m.tensors[1].tensor = std::string("a"); }) == "mask: a comes twice");
  CHECK(error_of([](mask& m) { m.tensors[1].rows = 0; }) ==
        "mask: b of 0 x 2 has no entries or more than 2^31");
  CHECK(error_of([](mask& m) { m.tensors[1].columns = -2; }) ==
        "mask: b of 3 x -2 has no entries or more than 2^31");
  CHECK(error_of([](mask& m) { m.tensors[1].rows = m.tensors[1].columns = 65536; }) ==
        "mask: b of 65536 x 65536 has no entries or more than 2^31");
  CHECK(error_of([](mask& m) {
          m.tensors[1].rows = m.tensors[1].columns = zoq::index_t{1} << 40;
        }).find("more than 2^31") != std::string::npos);
}

TEST_CASE("mask: the hash names the choice, not what is said about it") {
  const std::string before = two_tensors().hash();
  mask m = two_tensors();
  m.model_hash = "0123456789abcdef";
  m.about["score"] = "fisher";
  CHECK(m.hash() == before);
  m.tensors.push_back({"c", 1, 1, {}});  // a matrix without entries is as good as none
  CHECK(m.hash() == before);

  std::set<std::string> seen = {before};
  const auto note = [&](auto change) {
    mask other = two_tensors();
    change(other);
    seen.insert(other.hash());
  };
  note([](mask& x) { x.tensors[0].index[2] = 6; });
  note([](mask& x) { x.tensors[0].index.pop_back(); });
  note([](mask& x) { x.tensors[0].tensor = std::string("c"); });
  note([](mask& x) { std::swap(x.tensors[0].rows, x.tensors[0].columns); });
  note([](mask& x) { x.tensors.pop_back(); });
  note([](mask& x) { std::swap(x.tensors[0], x.tensors[1]); });
  note([](mask& x) {  // an entry goes from one tensor to the next
    x.tensors[0].index.pop_back();
    x.tensors[1].index.insert(x.tensors[1].index.begin(), 0);
  });
  CHECK(seen.size() == 8);
}

TEST_CASE("jaccard: common entries over all entries, tensors by name") {
  const mask m = two_tensors();
  CHECK(zoq::jaccard(m, m) == 1);
  CHECK(zoq::jaccard({}, {}) == 1);
  CHECK(zoq::jaccard(m, {}) == 0);
  mask other = m;
  std::swap(other.tensors[0], other.tensors[1]);
  CHECK(zoq::jaccard(m, other) == 1);
  other.tensors[1].index = {0, 4, 7};  // of a: 2 of 3 are common
  CHECK(zoq::jaccard(m, other) == 4.0 / 6);
  CHECK(zoq::jaccard(other, m) == 4.0 / 6);
  other.tensors[0].tensor = std::string("c");  // b and c share nothing
  CHECK(zoq::jaccard(m, other) == 2.0 / 8);
}
