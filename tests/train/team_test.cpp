// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/team.hpp"

#include <doctest/doctest.h>

#include <barrier>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "train/team_run.hpp"
#include "zoq/exec/cpu.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

/// What the threads of a team share.
struct meeting {
  explicit meeting(index_t n) : size(n), all(static_cast<std::ptrdiff_t>(n)) {}
  index_t size;
  std::barrier<> all;
  std::mutex lock;
  std::vector<std::int64_t> sum;
  std::size_t largest = 0;  // numbers that one sent at once
};

/// A team of threads: each stands for a process.
struct threads_team {
  std::shared_ptr<meeting> at;
  index_t number = 0;
  zoq::shared deals = zoq::shared::rows;

  [[nodiscard]] index_t size() const { return at->size; }
  [[nodiscard]] index_t rank() const { return number; }
  [[nodiscard]] zoq::shared share() const { return deals; }
  void add_up(std::span<std::int64_t> numbers) const {
    at->all.arrive_and_wait();
    {
      const std::lock_guard held(at->lock);
      at->sum.resize(numbers.size());
      at->largest = std::max(at->largest, numbers.size());
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        at->sum[i] += numbers[i];
      }
    }
    at->all.arrive_and_wait();
    std::copy(at->sum.begin(), at->sum.end(), numbers.begin());
    at->all.arrive_and_wait();
    if (number == 0) {
      at->sum.clear();
    }
    at->all.arrive_and_wait();
  }
};
static_assert(zoq::team<threads_team>);

/// run(rank) on every process of a team, in threads.
template <class Run>
std::vector<team_result> together(index_t size, const Run& run) {
  std::vector<team_result> out(static_cast<std::size_t>(size));
  std::vector<std::jthread> threads;
  for (index_t r = 0; r < size; ++r) {
    threads.emplace_back([&, r] { out[static_cast<std::size_t>(r)] = run(r); });
  }
  threads.clear();
  return out;
}

}  // namespace

TEST_CASE(
    "team: the same values to the bit for any number of processes, rows or points dealt out") {
  const team_task t;
  for (const team_work& w : team_works()) {
    CAPTURE(w.estimator);
    const team_result one = run_of(w, t.model, t.places, t.rows, zoq::alone{});
    REQUIRE(one.wrong.empty());
    for (const index_t size : {1, 2, 3, 4}) {
      for (const zoq::shared deals : {zoq::shared::rows, zoq::shared::points}) {
        CAPTURE(size);
        const auto at = std::make_shared<meeting>(size);
        const auto found = together(size, [&](index_t r) {
          return run_of(w, t.model, t.places, t.rows, threads_team{at, r, deals});
        });
        index_t tokens = 0;
        for (const team_result& each : found) {
          CHECK(each.wrong.empty());
          CHECK(each.values == one.values);
          tokens += each.tokens;
        }
        CHECK(tokens == one.tokens);  // nothing is done twice
        CHECK(at->largest <= 8 + 4);  // branches of svrg's round, and 4 numbers: 8 bytes each
      }
    }
  }
}

TEST_CASE("team: parts differ by one at most, and are all") {
  for (const index_t n : {0, 1, 2, 7, 16}) {
    index_t next = 0;
    for (index_t r = 0; r < 3; ++r) {
      const zoq::own_part part =
          zoq::part_of(threads_team{std::make_shared<meeting>(3), r, zoq::shared::rows}, n);
      CHECK(part.first == next);
      CHECK(part.last - part.first >= n / 3);
      CHECK(part.last - part.first <= n / 3 + 1);
      next = part.last;
    }
    CHECK(next == n);
  }
}

TEST_CASE("team: one that fails ends the run of all, and says why") {
  const auto at = std::make_shared<meeting>(3);
  const auto found = together(3, [&](index_t r) {
    team_result out;
    try {
      const threads_team team{at, r, zoq::shared::rows};
      std::vector<zoq::total> totals(2);
      for (zoq::total& one : totals) {
        one.add(0.5);
      }
      zoq::unite(team, totals, 3, r == 1 ? "row 7: the loss is nan" : "", 4, 5);
    } catch (const zoq::error& e) {
      out.wrong = e.what();
    }
    return out;
  });
  CHECK(found[0].wrong == "another process failed, and says why");
  CHECK(found[1].wrong == "row 7: the loss is nan");
  CHECK(found[2].wrong == found[0].wrong);
}

TEST_CASE("team: other settings, rows or values are found at the first step") {
  const team_task t;
  const auto differing = [&](const auto& run) {
    const auto at = std::make_shared<meeting>(2);
    for (const team_result& each : together(2, [&](index_t r) {
           return run(r, threads_team{at, r, zoq::shared::rows});
         })) {
      CHECK(each.wrong.find("different settings") != std::string::npos);
    }
  };
  differing([&](index_t r, const threads_team& team) {
    return run_of(team_work{}, t.model, t.places, t.rows, team, r == 0 ? 9 : 10);
  });
  differing([&](index_t r, const threads_team& team) {
    std::vector<zoq::example> rows = t.rows;
    rows[3].answer = r;
    return run_of(team_work{}, t.model, t.places, rows, team);
  });
}
