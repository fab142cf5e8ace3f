// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/target.hpp"

#include <doctest/doctest.h>

#include <string>

#include "io/temporary_folder.hpp"
#include "view/view_case.hpp"

using namespace zoq::test;

TEST_CASE("select: ranges of layers and parts of names, and back to text") {
  const zoq::tensor_selection all = zoq::select("");
  CHECK(all.every_layer());
  CHECK(all.holds("output.weight"));
  CHECK(all.layers_text().empty());
  const zoq::tensor_selection some = zoq::select("2-11", "attn_v,ffn");
  CHECK(some.layers_text() == "2-11");
  CHECK(some.exclude_text() == "attn_v,ffn");
  CHECK(some.holds("blk.2.attn_q.weight"));
  CHECK(some.holds("blk.11.attn_q.weight"));
  CHECK_FALSE(some.holds("blk.1.attn_q.weight"));
  CHECK_FALSE(some.holds("blk.12.attn_q.weight"));
  CHECK_FALSE(some.holds("blk.2.attn_v.weight"));
  CHECK_FALSE(some.holds("blk.2.ffn_up.weight"));
  CHECK_FALSE(some.holds("output.weight"));  // of no layer
  CHECK(zoq::select("3").holds("blk.3.attn_q.weight"));
  CHECK_FALSE(zoq::select("3").holds("blk.4.attn_q.weight"));
  CHECK(zoq::select("3-").holds("blk.400.attn_q.weight"));
  CHECK(zoq::select("3-").layers_text() == "3-");
  CHECK_FALSE(zoq::select("", "output").holds("output.weight"));
  for (const char* bad : {"x", "-", "-3", "3-x", "3 - 4"}) {
    CAPTURE(bad);
    CHECK(message_of([&] { zoq::select(bad); }) == std::string("layers \"") + bad +
                                                       "\": wanted \"FIRST-LAST\", \"FIRST-\" or "
                                                       "one number");
  }
  CHECK(message_of([] { zoq::select("5-4"); }) == "layers \"5-4\": the last is before the first");
}

TEST_CASE("restricted: the mask's matrices that are selected") {
  zoq::mask m;
  m.tensors.push_back({"blk.0.attn_q.weight", 32, 32, {1}});
  m.tensors.push_back({"blk.1.attn_q.weight", 32, 32, {2, 3}});
  m.model_hash = "abc";
  const zoq::mask some = zoq::restricted(m, zoq::select("1"));
  CHECK(some.count() == 2);
  CHECK(some.model_hash == "abc");
  CHECK(zoq::restricted(m, {}).tensors == m.tensors);
}
