// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <variant>
#include <zoq/core/settings.hpp>

namespace {

struct plain {
  static constexpr std::string_view name = "plain";
};
struct rich {
  static constexpr std::string_view name = "rich";
  double rate = 1e-3;
  int probes = 2;
  std::uint64_t every = 10;
  bool quick = false;
  std::string text = "a";
  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rate", self.rate);
    f("probes", self.probes);
    f("every", self.every);
    f("quick", self.quick);
    f("text", self.text);
  }
};
using any = std::variant<plain, rich>;

std::string message(const std::string& text) {
  try {
    zoq::policy_named<any>("thing", text);
  } catch (const zoq::error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a name alone has the defaults") {
  CHECK(zoq::policy_text(zoq::policy_named<any>("thing", "rich")) ==
        "rich:rate=0.001,probes=2,every=10,quick=false,text=a");
  CHECK(zoq::policy_text(zoq::policy_named<any>("thing", "plain")) == "plain");
  CHECK(zoq::has_setting(rich{}, "rate"));
  CHECK(!zoq::has_setting(rich{}, "rat"));
  CHECK(!zoq::has_setting(plain{}, "rate"));
}

TEST_CASE("text and policy give each other back") {
  rich r;
  r.rate = 0.1 + 0.2;
  r.probes = -3;
  r.every = ~std::uint64_t{0};
  r.quick = true;
  r.text = "b c";
  const std::string text = zoq::policy_text(r);
  const auto again = std::get<rich>(zoq::policy_named<any>("thing", text));
  CHECK(again.rate == r.rate);
  CHECK(again.probes == r.probes);
  CHECK(again.every == r.every);
  CHECK(again.quick == r.quick);
  CHECK(again.text == r.text);
  CHECK(zoq::policy_text(again) == text);
}

TEST_CASE("a wrong text is refused with what was found and what was wanted") {
  CHECK(message("poor") == "unknown thing \"poor\": plain, rich");
  CHECK(message("rich:speed=1") ==
        "thing rich has no setting \"speed\": rate, probes, every, quick, text");
  CHECK(message("plain:speed=1") == "thing plain has no setting \"speed\": it has none");
  CHECK(message("rich:rate=fast") == "thing rich: rate is \"fast\", wanted a number");
  CHECK(message("rich:probes=1.5") == "thing rich: probes is \"1.5\", wanted a whole number");
  CHECK(message("rich:every=-1") == "thing rich: every is \"-1\", wanted a whole number");
  CHECK(message("rich:quick=yes") == "thing rich: quick is \"yes\", wanted true or false");
  CHECK(message("rich:rate") == "thing rich: \"rate\" is no setting=value");
  CHECK(message("rich:rate=1,rate=2") == "thing rich: rate is given twice");
}
