// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <utility>
#include <variant>
#include <zoq/core/settings.hpp>
#include <zoq/estimate/estimators.hpp>
#include <zoq/objective/objectives.hpp>
#include <zoq/optim/optimizers.hpp>
#include <zoq/optim/schedule.hpp>
#include <zoq/quant/formats.hpp>
#include <zoq/random/directions.hpp>
#include <zoq/score/scores.hpp>
#include <zoq/view/layouts.hpp>

#include "command.hpp"

namespace zoq::cli {

namespace {

/// One name for the command line.
struct policy {
  std::string name, summary, paper, cost;
  std::string settings;  // "rate=0.001,beta1=0.9": the defaults
};

struct slot {
  const char* name;
  const char* option;  // that takes a name
  std::vector<policy> policies;
};

template <class P>
policy about(const P& one) {
  const std::string text = policy_text(one);
  const std::size_t colon = text.find(':');
  std::string cost;
  if constexpr (requires { P::cost; }) {
    cost = P::cost;
  }
  return {std::string(P::name), std::string(P::summary), std::string(P::paper), cost,
          colon == text.npos ? "" : text.substr(colon + 1)};
}

template <class Variant>
std::vector<policy> all_of() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return std::vector<policy>{about(std::variant_alternative_t<I, Variant>{})...};
  }
  (std::make_index_sequence<std::variant_size_v<Variant>>{});
}

std::vector<policy> all_formats() {
  std::vector<policy> out;
  formats::for_each([&](const auto& one) { out.push_back(about(one)); });
  return out;
}

std::vector<policy> all_scores() {
  std::vector<policy> out;
  for (const score_entry& s : score_entries) {
    out.push_back({std::string(s.name), std::string(s.summary), std::string(s.paper),
                   std::string(s.cost), ""});
  }
  return out;
}

std::vector<slot> all_slots() {
  return {{"estimator", "--estimator", all_of<any_estimator::list>()},
          {"direction", "--direction", all_of<any_direction>()},
          {"view", "--view", all_of<any_view>()},
          {"mask", "--mask", all_scores()},
          {"optimizer", "--optimizer", all_of<any_optimizer::list>()},
          {"schedule", "--schedule", all_of<any_schedule>()},
          {"format", "zoq quantize --format", all_formats()},
          {"objective", "--objective", all_of<any_objective::list>()}};
}

}  // namespace

int policies(CLI::App& app, const std::function<void()>& parse) {
  bool json = false;
  std::string only;
  app.add_option("slot", only, "One slot alone: estimator, direction, view, ...");
  app.add_flag("--json", json, "Print one line of JSON");
  parse();
  std::vector<slot> slots = all_slots();
  if (!only.empty()) {
    std::string known;
    for (const slot& s : slots) {
      known += std::string(known.empty() ? "" : ", ") + s.name;
    }
    std::erase_if(slots, [&](const slot& s) { return only != s.name; });
    require_option(!slots.empty(), "slot", "unknown \"" + only + "\": " + known);
  }
  if (json) {
    nlohmann::json line = nlohmann::json::object();
    for (const slot& s : slots) {
      for (const policy& p : s.policies) {
        line[s.name].push_back({{"name", p.name},
                                {"summary", p.summary},
                                {"paper", p.paper},
                                {"cost", p.cost},
                                {"settings", p.settings}});
      }
    }
    print_json(line);
    return 0;
  }
  for (const slot& s : slots) {
    std::printf("%s%s  (%s)\n", &s == slots.data() ? "" : "\n", s.name, s.option);
    for (const policy& p : s.policies) {
      std::printf("  %-18s %s\n", p.name.c_str(), p.summary.c_str());
      const bool both = !p.cost.empty() && !p.paper.empty();
      std::printf("  %-18s %s%s%s\n", "", p.cost.c_str(), both ? "; " : "", p.paper.c_str());
      if (!p.settings.empty()) {
        std::printf("  %-18s %s\n", "", p.settings.c_str());
      }
    }
  }
  return 0;
}

}  // namespace zoq::cli
