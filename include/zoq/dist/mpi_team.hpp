// mpi_team: the processes of an MPI communicator take the steps of one run together.
//
//     MPI_Init(&argc, &argv);
//     zoq::trainer trainer{exec, model, view, objective, estimator, optimizer, zoq::mpi_team{MPI_COMM_WORLD}};
//
// One sum over all processes in each round of a step, of 8 bytes a branch and 32; see train/team.hpp. It needs
// no thread support of MPI: all calls come from the thread that calls the trainer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>
#include <utility>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/train/team.hpp"

namespace zoq {

/// What processes share, and how they wait for each other.
struct mpi_options {
  zoq::shared share = zoq::shared::rows;  // what is dealt out: train/team.hpp
  double patience =
      600;  // seconds without an answer after which the others are given up; 0: for ever
  std::function<void()> waiting = [] {
  };  // called about 100 times a second then; may throw, to stop
};

class mpi_team {
 public:
  /// The communicator must outlive it. MPI must be initialised.
  explicit mpi_team(MPI_Comm of = MPI_COMM_WORLD, mpi_options options = {})
      : of_(of), options_(std::move(options)) {
    int size = 0, rank = 0;
    check(MPI_Comm_set_errhandler(of_, MPI_ERRORS_RETURN));
    check(MPI_Comm_size(of_, &size));
    check(MPI_Comm_rank(of_, &rank));
    size_ = size;
    rank_ = rank;
  }

  [[nodiscard]] index_t size() const { return size_; }  // processes
  [[nodiscard]] index_t rank() const { return rank_; }  // this process's number, from 0
  [[nodiscard]] zoq::shared share() const { return options_.share; }  // as the options say

  /// Throws when MPI reports an error or the others are silent for too long; then only MPI_Abort is left to
  /// call. Spins for the first millisecond, then sleeps between looks.
  void add_up(std::span<std::int64_t> numbers) const {
    MPI_Request request{};
    check(MPI_Iallreduce(MPI_IN_PLACE, numbers.data(), static_cast<int>(numbers.size()),
                         MPI_INT64_T, MPI_SUM, of_, &request));
    const auto start = std::chrono::steady_clock::now();
    for (int done = 0;;) {
      check(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
      if (done != 0) {
        return;
      }
      const double waited =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      if (waited > 1e-3) {
        options_.waiting();
        std::this_thread::sleep_for(std::chrono::microseconds(waited > 0.1 ? 10000 : 100));
      }
      require(options_.patience <= 0 || waited < options_.patience, "process ", rank_, " of ",
              size_, ": the others have not answered for ", options_.patience, " s");
    }
  }

 private:
  static void check(int code) {
    if (code != MPI_SUCCESS) {
      char words[MPI_MAX_ERROR_STRING] = {};
      int length = 0;
      MPI_Error_string(code, words, &length);
      fail("MPI: ", std::string(words, static_cast<std::size_t>(length)));
    }
  }

  MPI_Comm of_;
  mpi_options options_;
  index_t size_ = 1, rank_ = 0;
};
static_assert(team<mpi_team>);

}  // namespace zoq
