//===- AttendEmitter.cpp - attention over KV pages ----------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every page of 128 positions is reduced by itself: scores, maximum, sum and
// weighted values of a block of query rows (`page` function). Pages are merged
// in ascending order (`merge` function). Both orders below give the same bits:
//
//   few rows:  (row, KV head, page) are divided among the threads; barrier;
//              (row, head) are divided, each merges its pages
//   many rows: (block of tokens, KV head) are divided, or (row, KV head) where
//              a block mixes sequences; each goes through its pages and
//              merges as it goes
//
// Where nothing of a page is visible its maximum is -inf and its sum 0; such a
// page changes no bit of the merged result.
//
//===----------------------------------------------------------------------===//
#include "BodyEmitter.h"

#include "rondo_rt/abi.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

#include <limits>

using namespace mlir;
using namespace rondo;
using namespace rondo::cpu;

namespace {
constexpr int64_t kPage = RONDO_RT_PAGE_POSITIONS;
constexpr int64_t kScoreBytes = kPage * 4; // scores of one query over a page
constexpr int64_t kLimitBytes = 16; // first and end position of one query

class AttendEmitter {
public:
  AttendEmitter(CodeBuilder &code, ModuleFacts &facts, const BodyValues &values,
                rt::AttendOp attend)
      : code(code), facts(facts), values(values), attend(attend), kv(facts.kv),
        group(attend.getHeads() / attend.getKvHeads()),
        partialBytes(rt::getPartialBytes(kv.valueLanes)),
        pages(llvm::divideCeil(facts.context, kPage)) {
    int64_t queries = rt::getQueryBlock(group);
    int64_t offset = *attend.getScratch();
    auto take = [&](int64_t bytes) {
      Value address = code.at(values.scratch, offset);
      offset += queries * bytes;
      return address;
    };
    queryRows = take(kv.keyLanes * 4);
    scores = take(kScoreBytes);
    partial = take(partialBytes);
    state = take(partialBytes);
    limits = take(kLimitBytes);
  }

  void emit() {
    Value few = code.compare(arith::CmpIPredicate::sle, values.rows,
                             code.i64(rt::kFewRows));
    code.ifElse(few, [&] { emitFewRows(); }, [&] { emitManyRows(); });
  }

private:
  //===--- Functions shared by all stages of this shape -------------------===//

  std::string functionName(StringRef what) {
    return ("rondo_attend_" + what + "_k" + Twine(kv.keyLanes) + "_v" +
            Twine(kv.valueLanes) + "_s" +
            Twine(llvm::bit_cast<uint32_t>(attend.getScale().convertToFloat())))
        .str();
  }

  func::FuncOp
  getOrCreate(StringRef name, ArrayRef<Type> types,
              llvm::function_ref<void(CodeBuilder &, ValueRange)> body) {
    if (auto function = facts.lookup<func::FuncOp>(name))
      return function;
    return createFunction(facts.module, name, types, body);
  }

  /// page(queries, count, keys, values, positions, limits, scores, out,
  /// outStride)
  void callPage(Value queries, Value count, Value keys, Value valuePage,
                Value positions, Value out, Value outStride) {
    Type ptr = code.ptrType(), i64 = code.i64Type();
    func::FuncOp function = getOrCreate(
        functionName("page"), {ptr, i64, ptr, ptr, i64, ptr, ptr, ptr, i64},
        [&](CodeBuilder &inside, ValueRange args) { emitPage(inside, args); });
    func::CallOp::create(code.b, code.loc, function,
                         ValueRange{queries, count, keys, valuePage, positions,
                                    limits, scores, out, outStride});
  }

  void emitPage(CodeBuilder &in, ValueRange args) {
    Value queries = args[0], count = args[1], keys = args[2],
          valuePage = args[3];
    Value positions = args[4], limitRows = args[5], scoreRows = args[6];
    Value out = args[7], outStride = args[8];
    PanelFormat format = kv.getFormat();
    int64_t bytes = kv.getElementBytes();
    Value panels = in.div(in.add(positions, rt::kLanes - 1), rt::kLanes);
    in.forEach(in.i64(0), panels, 1, [&](Value panel) {
      emitContract(
          in, facts, format, RowFormat::F32,
          {queries, in.i64(kv.keyLanes * 4),
           in.at(keys, in.mul(panel, kv.keyLanes * rt::kLanes * bytes)),
           in.i64(rt::kLanes * bytes), in.i64(kv.keyLanes),
           in.at(scoreRows, in.mul(panel, rt::kLanes * 4)),
           in.i64(kScoreBytes)},
          count);
    });
    in.forEach(in.i64(0), count, 1, [&](Value query) {
      emitSoftmax(in, in.at(scoreRows, in.mul(query, kScoreBytes)), panels,
                  in.at(limitRows, in.mul(query, kLimitBytes)),
                  in.at(out, in.mul(query, outStride)));
    });
    in.forEach(kv.valueLanes / rt::kLanes, [&](Value chunk) {
      emitContract(in, facts, format, RowFormat::F32,
                   {scoreRows, in.i64(kScoreBytes),
                    in.at(valuePage, in.mul(chunk, rt::kLanes * bytes)),
                    in.i64(kv.valueLanes * bytes), positions,
                    in.at(out, in.mul(chunk, rt::kLanes * 4)), outStride},
                   count);
    });
  }

  /// Scores of one query become weights; maximum and sum go behind its outputs.
  void emitSoftmax(CodeBuilder &in, Value row, Value panels, Value limit,
                   Value out) {
    Value first = in.loadUnsigned(limit, 0, 64),
          end = in.loadUnsigned(limit, 8, 64);
    Value infinity = in.f32(-std::numeric_limits<float>::infinity());
    Value scale = in.splat(in.f32(attend.getScale().convertToFloat()));
    auto maxOf = [&](Value x, Value y) { return in.fmax(x, y); };
    Value maxima = in.fold(
        in.i64(0), panels, in.splat(infinity), [&](Value panel, Value m) {
          Value address = in.at(row, in.mul(panel, rt::kLanes * 4));
          Value scaled = in.fmul(in.loadChunk(address), scale);
          Value masked = keepBetween(in, scaled, in.mul(panel, rt::kLanes),
                                     first, end, infinity);
          in.store(masked, address);
          return in.fmax(m, masked);
        });
    Value maximum = in.reduceLanes(maxima, maxOf);
    Value base = in.splat(finite(in, maximum));
    Value sums = in.fold(
        in.i64(0), panels, in.splat(in.f32(0)), [&](Value panel, Value sum) {
          Value address = in.at(row, in.mul(panel, rt::kLanes * 4));
          Value weight =
              emitExp(in.b, in.loc, in.fsub(in.loadChunk(address), base));
          in.store(weight, address);
          return in.fadd(sum, weight);
        });
    Value sum =
        in.reduceLanes(sums, [&](Value x, Value y) { return in.fadd(x, y); });
    in.store(maximum, in.at(out, kv.valueLanes * 4));
    in.store(sum, in.at(out, kv.valueLanes * 4 + 4));
  }

  /// `scores` of positions from `position` on, -inf outside of [first, end).
  Value keepBetween(CodeBuilder &in, Value scores, Value position, Value first,
                    Value end, Value infinity) {
    auto type = VectorType::get({rt::kLanes}, in.b.getI32Type());
    SmallVector<int32_t> lanes(
        llvm::to_vector(llvm::seq<int32_t>(0, rt::kLanes)));
    Value numbers = arith::ConstantOp::create(
        in.b, in.loc,
        DenseIntElementsAttr::get(type, ArrayRef<int32_t>(lanes)));
    auto limit = [&](Value bound) {
      Value narrow = arith::TruncIOp::create(in.b, in.loc, in.b.getI32Type(),
                                             in.sub(bound, position));
      return vector::BroadcastOp::create(in.b, in.loc, type, narrow);
    };
    Value after = arith::CmpIOp::create(in.b, in.loc, arith::CmpIPredicate::sge,
                                        numbers, limit(first));
    Value before = arith::CmpIOp::create(
        in.b, in.loc, arith::CmpIPredicate::slt, numbers, limit(end));
    Value kept = arith::AndIOp::create(in.b, in.loc, after, before);
    return in.select(kept, scores, in.splat(infinity));
  }

  /// A maximum, or 0 where there was nothing: subtracting it leaves no NaN.
  static Value finite(CodeBuilder &in, Value maximum) {
    Value infinity = in.f32(-std::numeric_limits<float>::infinity());
    Value empty = arith::CmpFOp::create(in.b, in.loc, arith::CmpFPredicate::OEQ,
                                        maximum, infinity);
    return in.select(empty, in.f32(0), maximum);
  }

  /// merge(states, partials, partialStride, count)
  void callMerge(Value states, Value partials, Value partialStride,
                 Value count) {
    Type ptr = code.ptrType(), i64 = code.i64Type();
    func::FuncOp function = getOrCreate(
        functionName("merge"), {ptr, ptr, i64, i64},
        [&](CodeBuilder &in, ValueRange args) {
          in.forEach(in.i64(0), args[3], 1, [&](Value query) {
            emitMerge(in, in.at(args[0], in.mul(query, partialBytes)),
                      in.at(args[1], in.mul(query, args[2])));
          });
        });
    func::CallOp::create(code.b, code.loc, function,
                         ValueRange{states, partials, partialStride, count});
  }

  void emitMerge(CodeBuilder &in, Value to, Value from) {
    int64_t statistics = kv.valueLanes * 4;
    auto read = [&](Value base, int64_t offset) {
      return in.load(in.b.getF32Type(), in.at(base, statistics + offset));
    };
    Value oldMaximum = read(to, 0), newMaximum = read(from, 0);
    Value maximum = in.fmax(oldMaximum, newMaximum);
    Value base = finite(in, maximum);
    Value keep = emitExp(in.b, in.loc, in.fsub(oldMaximum, base));
    Value take = emitExp(in.b, in.loc, in.fsub(newMaximum, base));
    Value sum =
        in.fadd(in.fmul(read(to, 4), keep), in.fmul(read(from, 4), take));
    in.store(maximum, in.at(to, statistics));
    in.store(sum, in.at(to, statistics + 4));
    Value keepAll = in.splat(keep), takeAll = in.splat(take);
    in.forEach(kv.valueLanes / rt::kLanes, [&](Value chunk) {
      Value offset = in.mul(chunk, rt::kLanes * 4);
      Value target = in.at(to, offset);
      Value old = in.fmul(in.loadChunk(target), keepAll);
      Value added = in.fmul(in.loadChunk(in.at(from, offset)), takeAll);
      in.store(in.fadd(old, added), target);
    });
  }

  //===--- Pieces ---------------------------------------------------------===//

  void emitClear(Value stateRow) {
    int64_t statistics = kv.valueLanes * 4;
    code.forEach(kv.valueLanes / rt::kLanes, [&](Value chunk) {
      code.store(code.splat(code.f32(0)),
                 code.at(stateRow, code.mul(chunk, rt::kLanes * 4)));
    });
    code.store(code.f32(-std::numeric_limits<float>::infinity()),
               code.at(stateRow, statistics));
    code.store(code.f32(0), code.at(stateRow, statistics + 4));
  }

  /// Visible places of the row of `descriptor`: [first, end). Beyond its own
  /// place it sees only where the whole sequence is in the step.
  std::pair<Value, Value> emitVisible(Value descriptor) {
    Value place = emitPlace(code, values, descriptor);
    Value visible =
        code.loadUnsigned(descriptor, offsetof(rondo_rt_row, visible), 32);
    Value next = code.add(place, 1);
    Value first = code.i64(0);
    if (std::optional<uint64_t> window = attend.getWindow())
      first = code.max(code.sub(next, code.i64(*window)), first);
    return {first, facts.isCohort ? visible : code.min(visible, next)};
  }

  Value queryAddress(Value row, Value kvHead) {
    auto buffer = attend.getQuery().getDefiningOp<rt::BufferOp>();
    int64_t lanes = cast<MemRefType>(buffer.getType()).getDimSize(1);
    Value offset = code.add(code.mul(row, lanes * 4),
                            code.mul(kvHead, group * kv.keyLanes * 4));
    return code.at(
        code.at(values.arena, static_cast<int64_t>(buffer.getOffset())),
        offset);
  }

  /// Writes the limits of one query, relative to the page that starts at
  /// `start`.
  void storeLimits(Value address, Value first, Value end, Value start) {
    auto relative = [&](Value position) {
      return code.min(code.max(code.sub(position, start), code.i64(0)),
                      code.i64(kPage));
    };
    code.store(relative(first), address);
    code.store(relative(end), code.at(address, 8));
  }

  /// Divides the outputs of a query by their sum into its head of the result.
  void emitFinish(Value stateRow, Value row, Value head) {
    auto buffer = attend.getTarget().getDefiningOp<rt::BufferOp>();
    int64_t lanes = cast<MemRefType>(buffer.getType()).getDimSize(1);
    int64_t dim = attend.getHeadDim();
    Value offset = code.add(code.mul(row, lanes * 4), code.mul(head, dim * 4));
    Value target =
        code.at(code.at(values.arena, static_cast<int64_t>(buffer.getOffset())),
                offset);
    Value sum = code.load(code.b.getF32Type(),
                          code.at(stateRow, kv.valueLanes * 4 + 4));
    int64_t whole = dim / rt::kLanes;
    code.forEach(whole, [&](Value chunk) {
      Value bytes = code.mul(chunk, rt::kLanes * 4);
      Value x = code.loadChunk(code.at(stateRow, bytes));
      code.store(code.fdiv(x, code.splat(sum)), code.at(target, bytes));
    });
    code.forEach(
        code.i64(whole * rt::kLanes), code.i64(dim), 1, [&](Value lane) {
          Value bytes = code.mul(lane, 4);
          Value x = code.load(code.b.getF32Type(), code.at(stateRow, bytes));
          code.store(code.fdiv(x, sum), code.at(target, bytes));
        });
  }

  /// Runs `body` if item `number` is this thread's; items are dealt in turn.
  void ifMine(Value number, llvm::function_ref<void()> body) {
    Value owner =
        arith::RemUIOp::create(code.b, code.loc, number, values.threads);
    code.ifThen(code.compare(arith::CmpIPredicate::eq, owner, values.thread),
                body);
  }

  //===--- Few rows -------------------------------------------------------===//

  /// Partial result of a query over one page, in memory the team shares.
  Value sharedPartial(Value row, Value head, Value page) {
    Value number = code.add(
        code.mul(code.add(code.mul(row, attend.getHeads()), head), pages),
        page);
    return code.at(
        code.at(values.arena, static_cast<int64_t>(*attend.getShared())),
        code.mul(number, partialBytes));
  }

  void emitFewRows() {
    int64_t kvHeads = attend.getKvHeads();
    code.forEach(code.i64(0), values.rows, 1, [&](Value row) {
      Value descriptor = emitDescriptor(code, values, row);
      Value first, end;
      std::tie(first, end) = emitVisible(descriptor);
      forEachPage(first, end, [&](Value page) {
        code.forEach(kvHeads, [&](Value kvHead) {
          ifMine(code.add(code.add(code.mul(page, kvHeads), kvHead), row), [&] {
            emitPagePartial(row, descriptor, first, end, page, kvHead);
          });
        });
      });
    });
    emitBarrier(code, values);
    code.forEach(code.i64(0), values.rows, 1, [&](Value row) {
      Value first, end;
      std::tie(first, end) = emitVisible(emitDescriptor(code, values, row));
      code.forEach(attend.getHeads(), [&](Value head) {
        ifMine(code.add(code.mul(row, attend.getHeads()), head), [&] {
          emitClear(state);
          forEachPage(first, end, [&](Value page) {
            callMerge(state, sharedPartial(row, head, page),
                      code.i64(partialBytes), code.i64(1));
          });
          emitFinish(state, row, head);
        });
      });
    });
  }

  void forEachPage(Value first, Value end,
                   llvm::function_ref<void(Value)> body) {
    code.forEach(code.div(first, kPage),
                 code.div(code.add(end, kPage - 1), kPage), 1, body);
  }

  void emitPagePartial(Value row, Value descriptor, Value first, Value end,
                       Value page, Value kvHead) {
    Value start = code.mul(page, kPage);
    code.forEach(group, [&](Value query) {
      storeLimits(code.at(limits, code.mul(query, kLimitBytes)), first, end,
                  start);
    });
    Value address = emitPageAddress(code, facts, values, descriptor, page,
                                    attend.getCache(), kvHead);
    Value out = sharedPartial(row, code.mul(kvHead, group), page);
    callPage(queryAddress(row, kvHead), code.i64(group), address,
             code.at(address, kv.getKeyBytes()),
             code.min(code.sub(end, start), code.i64(kPage)), out,
             code.i64(pages * partialBytes));
  }

  //===--- Many rows ------------------------------------------------------===//

  int64_t tokensPerBlock() { return rt::getQueryBlock(group) / group; }

  void emitManyRows() {
    int64_t tokens = tokensPerBlock();
    Value blocks = code.div(code.add(values.rows, tokens - 1), tokens);
    code.forEach(code.i64(0), blocks, 1, [&](Value block) {
      Value first = code.mul(block, tokens);
      Value end = code.min(code.add(first, tokens), values.rows);
      // Rows of one sequence and one visit share pages; others go one by one.
      code.ifElse(
          isUniform(first, end), [&] { dealRows(block, first, end); },
          [&] {
            code.forEach(first, end, 1, [&](Value row) {
              dealRows(row, row, code.add(row, 1));
            });
          });
    });
  }

  /// Rows [first, end) for the KV heads that are this thread's; `number` tells
  /// groups of rows apart.
  void dealRows(Value number, Value first, Value end) {
    int64_t kvHeads = attend.getKvHeads();
    code.forEach(kvHeads, [&](Value kvHead) {
      ifMine(code.add(code.mul(number, kvHeads), kvHead),
             [&] { emitRows(first, end, kvHead); });
    });
  }

  /// Whether rows [first, end) are of one sequence and one visit.
  Value isUniform(Value first, Value end) {
    auto key = [&](Value row) {
      Value descriptor = emitDescriptor(code, values, row);
      Value sequence =
          code.loadUnsigned(descriptor, offsetof(rondo_rt_row, sequence), 32);
      Value visit =
          code.loadUnsigned(descriptor, offsetof(rondo_rt_row, visit), 16);
      return code.add(code.mul(sequence, 1 << 16), visit);
    };
    Value firstKey = key(first);
    Value others =
        code.fold(first, end, code.i64(0), [&](Value row, Value count) {
          Value same =
              code.compare(arith::CmpIPredicate::eq, key(row), firstKey);
          return code.add(count, code.select(same, code.i64(0), code.i64(1)));
        });
    return code.compare(arith::CmpIPredicate::eq, others, code.i64(0));
  }

  /// Rows [first, end) of one sequence, one KV head.
  void emitRows(Value first, Value end, Value kvHead) {
    Value count = code.mul(code.sub(end, first), group);
    code.forEach(first, end, 1, [&](Value row) {
      Value to = code.at(
          queryRows, code.mul(code.sub(row, first), group * kv.keyLanes * 4));
      Value from = queryAddress(row, kvHead);
      code.forEach(group * kv.keyLanes / rt::kLanes, [&](Value chunk) {
        Value bytes = code.mul(chunk, rt::kLanes * 4);
        code.store(code.loadChunk(code.at(from, bytes)), code.at(to, bytes));
      });
    });
    code.forEach(code.i64(0), count, 1, [&](Value query) {
      emitClear(code.at(state, code.mul(query, partialBytes)));
    });
    // Positions that any of the rows sees: the first one's start, since rows
    // ascend; but an earlier row may see further than the last.
    Value descriptor = emitDescriptor(code, values, first);
    Value firstSeen = emitVisible(descriptor).first;
    Value endSeen =
        code.fold(first, end, code.i64(0), [&](Value row, Value most) {
          Value own = emitVisible(emitDescriptor(code, values, row)).second;
          return code.max(most, own);
        });
    forEachPage(firstSeen, endSeen, [&](Value page) {
      emitPageOfRows(first, end, kvHead, count, page, descriptor, endSeen);
    });
    code.forEach(first, end, 1, [&](Value row) {
      code.forEach(group, [&](Value inGroup) {
        Value query = code.add(code.mul(code.sub(row, first), group), inGroup);
        emitFinish(code.at(state, code.mul(query, partialBytes)), row,
                   code.add(code.mul(kvHead, group), inGroup));
      });
    });
  }

  void emitPageOfRows(Value first, Value end, Value kvHead, Value count,
                      Value page, Value descriptor, Value endSeen) {
    Value start = code.mul(page, kPage);
    code.forEach(first, end, 1, [&](Value row) {
      Value rowFirst, rowEnd;
      std::tie(rowFirst, rowEnd) =
          emitVisible(emitDescriptor(code, values, row));
      code.forEach(group, [&](Value inGroup) {
        Value query = code.add(code.mul(code.sub(row, first), group), inGroup);
        storeLimits(code.at(limits, code.mul(query, kLimitBytes)), rowFirst,
                    rowEnd, start);
      });
    });
    Value address = emitPageAddress(code, facts, values, descriptor, page,
                                    attend.getCache(), kvHead);
    callPage(queryRows, count, address, code.at(address, kv.getKeyBytes()),
             code.min(code.sub(endSeen, start), code.i64(kPage)), partial,
             code.i64(partialBytes));
    callMerge(state, partial, code.i64(partialBytes), count);
  }

  CodeBuilder &code;
  ModuleFacts &facts;
  const BodyValues &values;
  rt::AttendOp attend;
  const KVLayout &kv;
  int64_t group;                                   // query heads of one KV head
  int64_t partialBytes;                            // of one query over one page
  int64_t pages;                                   // most pages of a sequence
  Value queryRows, scores, partial, state, limits; // in scratch
};
} // namespace

void rondo::cpu::emitAttend(CodeBuilder &code, ModuleFacts &facts,
                            const BodyValues &values, rt::AttendOp attend) {
  AttendEmitter(code, facts, values, attend).emit();
}
