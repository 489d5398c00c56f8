//===- PackWeights.cpp - bytes of the weight region -----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Panels are independent of each other: a batch of them is made by all threads
// in a buffer of a few megabytes and handed on. What stays in memory is that
// buffer and a panel's worth of converted rows for each thread; the checkpoint
// itself is mapped.
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/Weights.h"

#include "PackedStorage.h"
#include "rondo/Bundle/LowRankDelta.h"
#include "rondo/Bundle/Panel.h"
#include "rondo/Bundle/ParamRows.h"
#include "rondo/Bundle/Storage.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/IR/SymbolTable.h"

#include <algorithm>
#include <cmath>
#include <thread>

using namespace mlir;
using namespace rondo;
using llvm::Error;
using llvm::Expected;

/// Bytes of a batch; at least one panel.
static constexpr int64_t kBatchBytes = 8 << 20;

static Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

namespace {

/// What an execution names of a packed form.
struct Entry {
  int64_t layer, side;
};

/// Entry `number` of a form with `depths` entries in each layer.
Entry getEntry(int64_t number, int64_t depths) {
  return {number / depths, number % depths};
}

/// The tensors of one parameter.
struct Source {
  StorageType type = StorageType::Other;
  ParamOp param;
  std::vector<const ArchiveTensor *> entries; // null: zero

  /// The tensor of an execution; a parameter without layers serves every layer,
  /// one that does not vary by depth every depth.
  const ArchiveTensor *get(Entry entry) const {
    return entries[ParamOp(param).getEntry(entry.layer, entry.side)];
  }
};

} // namespace

/// Finds the parameter `name`, whose entries must have the shape `shape` and
/// serve `layers` layers.
static Expected<Source> findSource(Operation *op, StringRef name,
                                   const ArchiveSet &archives, int64_t layers,
                                   int64_t depths) {
  auto param = SymbolTable::lookupNearestSymbolFrom<ParamOp>(
      op, StringAttr::get(op->getContext(), name));
  if (!param)
    return makeError("packed weights use parameter '" + name +
                     "', which the module lacks");
  for (auto [what, count, needed] :
       {std::tuple("layers", param.getLayerCount(), layers),
        std::tuple("depths", param.getDepthCount(), depths)})
    if (count != 1 && count < needed)
      return makeError("parameter '" + name + "' has " + llvm::Twine(count) +
                       " " + what + ", its packed form needs " +
                       llvm::Twine(needed));
  Source source;
  source.param = param;
  source.type = getStorageType(param.getTensorType().getElementType());
  Expected<std::vector<const ArchiveTensor *>> entries =
      findTensors(param, archives);
  if (!entries)
    return entries.takeError();
  source.entries = std::move(*entries);
  return source;
}

/// What to tell of a conversion that failed.
static Error describe(ConversionResult result, const ArchiveTensor &tensor,
                      StorageType to) {
  if (result == ConversionResult::NotFinite)
    return makeError("tensor '" + tensor.key +
                     "' holds values that are not finite and have no " +
                     stringify(to).lower() +
                     " form; use --weights=keep, f32 or bf16");
  return makeError("tensor '" + tensor.key +
                   "' holds values beyond the range "
                   "of " +
                   stringify(to).lower() + "; use --weights=keep, f32 or bf16");
}

//===----------------------------------------------------------------------===//
// Matrices
//===----------------------------------------------------------------------===//

namespace {

/// Makes the panels of one `rondo_rt.packed`.
class MatrixPacker {
public:
  MatrixPacker(rt::PackedOp op, unsigned threads)
      : op(op), to(getStorageType(op.getFormat())), paddedK(op.getK()),
        panelBytes(op.getPanelBytes()), threads(std::max(1u, threads)) {}

  Error findSources(const ArchiveSet &archives);
  Error pack(int64_t firstEntry, int64_t entries, ByteSink sink);

private:
  /// One parameter of the operation.
  struct Matrix {
    Source source;
    std::unique_ptr<LowRankDelta> delta; // null: none
    SmallVector<int32_t> lanes;
    int64_t k = 0;
  };
  /// Where panel `panel` of an entry comes from.
  struct Origin {
    const Matrix *matrix;
    int64_t panel;
  };
  /// A panel's converted rows.
  struct Workspace {
    std::vector<char> rows;
    std::vector<char> gathered;
    std::vector<float> values;
  };

  Origin locate(int64_t panel);
  Error packOne(Entry entry, int64_t panel, char *target, Workspace &workspace);
  Error packRange(Entry entry, int64_t begin, int64_t end, char *target,
                  Workspace &workspace);
  Error packBatch(Entry entry, int64_t begin, int64_t end, char *target);

  rt::PackedOp op;
  StorageType to;
  int64_t paddedK;
  int64_t panelBytes;
  unsigned threads;
  std::vector<Matrix> matrices;
  std::vector<Workspace> workspaces;
};

} // namespace

Error MatrixPacker::findSources(const ArchiveSet &archives) {
  for (auto [param, layout] : llvm::zip(op.getParams(), op.getRows())) {
    StringRef name = cast<FlatSymbolRefAttr>(param).getValue();
    Expected<Source> source =
        findSource(op, name, archives, op.getLayers(), op.getDepths());
    if (!source)
      return source.takeError();
    Expected<std::unique_ptr<LowRankDelta>> delta =
        LowRankDelta::create(source->param, archives);
    if (!delta)
      return delta.takeError();
    Matrix matrix;
    matrix.source = std::move(*source);
    matrix.delta = std::move(*delta);
    matrix.lanes = cast<rt::LayoutAttr>(layout).getLaneMap();
    ArrayRef<int64_t> shape =
        ParamOp(matrix.source.param).getTensorType().getShape();
    if (shape.size() != 2 ||
        shape[0] != cast<rt::LayoutAttr>(layout).getWidth())
      return makeError("parameter '" + name +
                       "' has not the shape of its packed layout");
    matrix.k = shape[1];
    if (llvm::alignTo(matrix.k, rt::getLineInputs(op.getFormat())) !=
        uint64_t(paddedK))
      return makeError("parameter '" + name + "' has " + llvm::Twine(matrix.k) +
                       " inputs, its packed form " + llvm::Twine(paddedK));
    if (isBlockType(to) && matrix.k % kBlockSize)
      return makeError(
          "parameter '" + name + "' has " + llvm::Twine(matrix.k) +
          " inputs, not a multiple of 32, and cannot be stored as " +
          stringify(to).lower() + "; use another --weights type");
    matrices.push_back(std::move(matrix));
  }
  return Error::success();
}

MatrixPacker::Origin MatrixPacker::locate(int64_t panel) {
  int64_t unitPanels = op.getUnitPanels();
  int64_t unit = panel / (unitPanels * matrices.size());
  int64_t rest = panel % (unitPanels * matrices.size());
  return {&matrices[rest / unitPanels], unit * unitPanels + rest % unitPanels};
}

Error MatrixPacker::packOne(Entry entry, int64_t panel, char *target,
                            Workspace &workspace) {
  Origin origin = locate(panel);
  const Source &source = origin.matrix->source;
  const ArchiveTensor *tensor = source.get(entry);
  int64_t k = origin.matrix->k;
  ParamRows sourceRows(source.param);
  const LowRankDelta *delta = origin.matrix->delta.get();
  bool isMerged = delta && delta->isPresent(entry.layer, entry.side);
  int64_t rowBytes = getByteSize(to, k);
  const char *rows[kPanelRows] = {};
  for (int64_t n = 0; n < kPanelRows; ++n) {
    int32_t output = origin.matrix->lanes[origin.panel * rt::kLanes + n];
    if (output < 0 || !tensor)
      continue;
    rows[n] = sourceRows.get(*tensor, output, workspace.gathered);
    if (source.type == to && !isMerged)
      continue;
    workspace.rows.resize(kPanelRows * rowBytes);
    workspace.values.resize(k);
    char *row = workspace.rows.data() + n * rowBytes;
    ConversionResult result =
        isMerged
            ? delta->convertRow(entry.layer, entry.side, output, source.type,
                                rows[n], to, row, workspace.values)
            : convertRow(source.type, rows[n], to, row, workspace.values.data(),
                         k);
    if (result != ConversionResult::Done)
      return describe(result, *tensor, to);
    rows[n] = row;
  }
  packPanel(to, rows, k, paddedK, target);
  return Error::success();
}

Error MatrixPacker::packRange(Entry entry, int64_t begin, int64_t end,
                              char *target, Workspace &workspace) {
  for (int64_t panel = begin; panel < end; ++panel)
    if (Error error = packOne(entry, panel,
                              target + (panel - begin) * panelBytes, workspace))
      return error;
  return Error::success();
}

Error MatrixPacker::packBatch(Entry entry, int64_t begin, int64_t end,
                              char *target) {
  workspaces.resize(threads);
  std::vector<std::string> faults(threads);
  std::vector<std::thread> team;
  int64_t share = llvm::divideCeil(end - begin, threads);
  auto work = [&](unsigned thread) {
    int64_t first = std::min(end, begin + thread * share);
    int64_t last = std::min(end, first + share);
    faults[thread] = toString(packRange(entry, first, last,
                                        target + (first - begin) * panelBytes,
                                        workspaces[thread]));
  };
  for (unsigned thread = 1; thread < threads; ++thread)
    team.emplace_back(work, thread);
  work(0);
  for (std::thread &thread : team)
    thread.join();
  for (const std::string &fault : faults)
    if (!fault.empty())
      return makeError(fault);
  return Error::success();
}

Error MatrixPacker::pack(int64_t firstEntry, int64_t entries, ByteSink sink) {
  int64_t panels = op.getTotalPanels();
  int64_t batch = std::clamp<int64_t>(kBatchBytes / panelBytes, 1, panels);
  std::vector<char> buffer(batch * panelBytes);
  for (int64_t number = firstEntry; number < firstEntry + entries; ++number)
    for (int64_t begin = 0; begin < panels; begin += batch) {
      int64_t end = std::min(panels, begin + batch);
      if (Error error = packBatch(getEntry(number, op.getDepths()), begin, end,
                                  buffer.data()))
        return error;
      if (Error error = sink(
              llvm::ArrayRef(buffer).take_front((end - begin) * panelBytes)))
        return error;
    }
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Vectors and tables
//===----------------------------------------------------------------------===//

static Error sinkFloats(llvm::ArrayRef<float> values, ByteSink sink) {
  return sink(llvm::ArrayRef(reinterpret_cast<const char *>(values.data()),
                             values.size() * sizeof(float)));
}

static Error packVector(rt::VectorOp op, const WeightTensor &part,
                        const ArchiveSet &archives, ByteSink sink) {
  Expected<Source> source =
      findSource(op, op.getParam(), archives, op.getLayers(), op.getDepths());
  if (!source)
    return source.takeError();
  int64_t width = op.getLayout().getWidth();
  ParamRows rows(source->param);
  if (rows.getCount() != 1 || rows.getWidth() != width)
    return makeError("parameter '" + op.getParam() +
                     "' has not the shape of its layout");
  SmallVector<int32_t> lanes = op.getLayout().getLaneMap();
  std::vector<char> gathered;
  std::vector<float> values(width);
  std::vector<float> packed(getEntryBytes(op) / sizeof(float));
  for (int64_t number = part.firstEntry;
       number < part.firstEntry + part.entries; ++number) {
    const ArchiveTensor *tensor = source->get(getEntry(number, op.getDepths()));
    if (!tensor)
      std::fill(values.begin(), values.end(), 0.0f);
    else
      widenRow(source->type, rows.get(*tensor, /*row=*/0, gathered),
               values.data(), width);
    for (size_t i = 0; i < packed.size(); ++i) {
      int32_t element = lanes[i % lanes.size()];
      packed[i] = element < 0 ? 0 : values[element];
    }
    if (Error error = sinkFloats(packed, sink))
      return error;
  }
  return Error::success();
}

static Error packRopeTable(rt::RopeTableOp op, ByteSink sink) {
  auto frequencies = llvm::to_vector(op.getFrequencies().getValues<float>());
  constexpr int64_t kPairs = rt::kLanes / 2;
  std::vector<float> row(op.getChunks() * rt::kLanes);
  for (int64_t position = 0; position < static_cast<int64_t>(op.getPositions());
       ++position) {
    for (int64_t pair = 0; pair < static_cast<int64_t>(op.getChunks()) * kPairs;
         ++pair) {
      bool rotated = pair < static_cast<int64_t>(frequencies.size());
      float angle =
          rotated ? static_cast<float>(position) * frequencies[pair] : 0;
      float *chunk = row.data() + pair / kPairs * rt::kLanes;
      // In double, so that every C library rounds to the same float.
      chunk[pair % kPairs] = std::cos(static_cast<double>(angle));
      chunk[kPairs + pair % kPairs] = std::sin(static_cast<double>(angle));
    }
    if (Error error = sinkFloats(row, sink))
      return error;
  }
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Interface
//===----------------------------------------------------------------------===//

Error rondo::packTensor(const WeightTensor &tensor, const ArchiveSet &archives,
                        unsigned threads, ByteSink sink) {
  if (auto op = dyn_cast<rt::PackedOp>(tensor.op)) {
    MatrixPacker packer(op, threads);
    if (Error error = packer.findSources(archives))
      return error;
    return packer.pack(tensor.firstEntry, tensor.entries, sink);
  }
  if (auto op = dyn_cast<rt::VectorOp>(tensor.op))
    return packVector(op, tensor, archives, sink);
  return packRopeTable(cast<rt::RopeTableOp>(tensor.op), sink);
}
