"""What every loss promises. This text is for whoever calls a loss; the modules beside it implement it, once for all losses.

Items
-----
An item is what `reduction="none"` gives one value for: an element (regression, binary classification), a row of class scores with its label (cross-entropy and
its relatives), or a pair of boxes. Where it is something else the docstring says so. Dice and its relatives compare whole classes, see "Losses of overlap" below.

>>> import torch, losskit
>>> x, t = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 0.0, 0.0])
>>> losskit.mse_loss(x, t, reduction="none")
tensor([ 1.,  4., 16.])

reduction: "mean" (the default), "sum" or "none"
------------------------------------------------
"none" returns one loss per item, "sum" adds them up. "mean" divides the sum by the number of items that count or, with weights, by the sum of their weights.

>>> losskit.mse_loss(x, t, reduction="sum"), losskit.mse_loss(x, t)
(tensor(21.), tensor(7.))

`reduction=losskit.TopK(0.2)` keeps the fifth of the items with the largest losses, and reduces those (see there).

>>> losskit.mse_loss(x, t, reduction=losskit.TopK(2))
tensor(10.)

mask: which items count
-----------------------
A bool tensor; True means that the item counts. It broadcasts to the shape of the items. The result is the same as if you had deleted the masked items: they are
missing from the sum, from the denominator and from the gradient, whatever they hold, NaN included.

>>> losskit.mse_loss(torch.tensor([1.0, 2.0, float("nan")]), t, mask=torch.tensor([True, True, False]))
tensor(2.5000)

sample_weight: how much each item counts
----------------------------------------
Any real dtype, broadcasts like the mask, multiplies the losses. "mean" divides by the sum of the weights, so a weight of 3 acts like three copies of the item and
a weight of 0 deletes it. A negative weight could make that sum 0, so "mean" refuses it; "sum", "none" and "mean" with a `normalizer` take any finite weights.

>>> losskit.mse_loss(x, t, sample_weight=torch.tensor([3.0, 1.0, 0.0]))  # (3 * 1 + 1 * 4) / (3 + 1)
tensor(1.7500)

weight, pos_weight: how much each class counts
----------------------------------------------
As in torch. In `cross_entropy` and the other losses of labels "mean" divides by the weights of the labels; in
`binary_cross_entropy` and `binary_cross_entropy_with_logits` it does not. Give a tensor or a list.

>>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
>>> losskit.cross_entropy(logits, labels, weight=[3.0, 1.0])  # (3 * 0.1269 + 1 * 0.3133) / (3 + 1)
tensor(0.1735)

normalizer: another denominator
-------------------------------
A number, at least 0, or a 0-d tensor on the input's device. "mean" divides by it and by nothing else. Use it when a batch comes in pieces (gradient accumulation,
several ranks): count the items of the whole batch first and give each piece that count. 0 says that there is nothing to count.

>>> losskit.mse_loss(x[:2], t[:2], normalizer=3) + losskit.mse_loss(x[2:], t[2:], normalizer=3)
tensor(7.)

On several ranks of a distributed training, `normalizer=losskit.Ranks()` adds the counts up: each rank's loss is its part of the mean over all ranks' items.

DTensors: parts on several ranks
--------------------------------
Tensors may be DTensors. The loss is that of the whole tensors, as a DTensor that every rank has, and gradients are spread as the tensors are. A plain tensor beside
them is whole, and the same on every rank. Where a batch is spread over one axis of the mesh, each rank computes the loss of its items; where the classes of logits or
of a head are, as with `class_group=`; likewise the sums of losses of overlap with `over="batch"`. Otherwise every rank gathers what is spread. The mesh says which
ranks there are, so `losskit.Ranks`, `class_group=` and `process_group=` are refused beside DTensors.

ignore_index, missing: absent targets
-------------------------------------
An item whose target equals `ignore_index` is absent, as if masked. Class labels have the default -100, as in torch; where targets are 0 and 1 it is None, and
nothing is absent. Binary cross-entropy and the focal loss also take `missing`, which may be any number or NaN.

>>> losskit.cross_entropy(logits, torch.tensor([0, -100]))
tensor(0.1269)
>>> losskit.binary_cross_entropy_with_logits(torch.tensor([0.0, 5.0]), torch.tensor([1.0, float("nan")]), missing=float("nan"))
tensor(0.6931)

Nothing left to count
---------------------
If no item counts, "mean" and "sum" are 0 and the gradients are zeros. The loss stays attached to the graph, so `backward()` works.

>>> x = x.requires_grad_()
>>> losskit.mse_loss(x, t, mask=torch.tensor(False)).backward()
>>> x.grad
tensor([0., 0., 0.])

Shapes
------
Input and target have the same shape, or the target lacks the class axis. Neither is broadcast to the other: where shapes differ it is nearly always by mistake.
Masks and weights do broadcast. The class axis is `dim`, by default 1.

>>> losskit.mse_loss(torch.zeros(2, 1), torch.zeros(2))
Traceback (most recent call last):
ValueError: target has shape (2,) but input has shape (2, 1): they must be equal, nothing is broadcast. Try target.unsqueeze(1)

Half precision
--------------
float16 and bfloat16 inputs are computed and added up in float32. The loss is float32, also with "none"; gradients have the dtype of the tensor they belong to.
float64 stays float64. Autocast changes nothing.

>>> h = torch.tensor([300.0, -300.0], dtype=torch.float16, requires_grad=True)
>>> loss = losskit.mse_loss(h, torch.zeros_like(h))  # 90,000 is beyond float16
>>> loss.backward()
>>> loss.item(), h.grad.dtype
(90000.0, torch.float16)

Bad values
----------
A NaN in an item that counts gives a NaN loss. A value outside its domain (a probability of 1.5, a class label that does not exist, an infinite weight) raises
`ValueError` on the CPU, with its place and the fix. On a GPU such a check would make the host wait for the device, so there is none: a probability or a label out
of its domain gives NaN. `losskit.validate()` switches the checks on there, too.

>>> losskit.cross_entropy(logits, torch.tensor([0, 2]))
Traceback (most recent call last):
ValueError: target must hold labels from 0 to 1 (the input has 2 classes) or ignore_index=-100, got 2 at index (1,). Labels count from 0

Gradients
---------
The input gets a gradient, and so do `sample_weight` and a target of real numbers if they require one. Each docstring says which other tensors can have one. Where
no gradient is defined, a tensor that requires one is refused, never silently left without. No tensor is changed, except by `inplace=True`.

>>> w = torch.ones(3, requires_grad=True)
>>> losskit.mse_loss(torch.tensor([1.0, 2.0, 4.0]), t, sample_weight=w).backward()
>>> w.grad  # (loss of the item - mean) / 3
tensor([-2.0000, -1.0000,  3.0000])

Parameters as tensors
---------------------
Where a docstring says so, a parameter such as Huber's `delta` or a predicted variance may be a tensor: one number in all, one per class (a vector), per item or per
element, anything that broadcasts to the input. Its gradient has its own shape: where one number serves several items, their shares are added up. A number out of its
range (a scale <= 0) raises like any other bad value. In a module, an `nn.Parameter` is registered, and trains with the model.

>>> delta = torch.tensor(1.0, requires_grad=True)
>>> losskit.huber_loss(torch.tensor([0.5, 3.0]), torch.zeros(2), delta=delta, reduction="sum").backward()
>>> delta.grad  # of 3 - delta / 2, by delta: 3 - delta, from the second item alone
tensor(2.)

Losses of overlap
-----------------
Dice, Jaccard, Tversky, MCC and Lovasz losses compare a whole class of a sample (or of the batch) at once. They take `mask`, `ignore_index` and `normalizer` as above.
`average` stands in for `reduction`, `over` says whether sums are per sample or of the batch, and there is no `sample_weight`: single items have no loss of their own.

>>> p = torch.tensor([[0.9, 0.9, 0.0, 0.0]])
>>> mask = torch.tensor([[True, False, True, True]])
>>> losskit.dice_loss(p, torch.tensor([[1, 0, 0, 0]]), task="binary", from_logits=False, smooth=0.0, mask=mask)  # 1 - 2 * 0.9 / (0.9 + 1)
tensor(0.0526)

Engines
-------
On CPUs and GPUs most losses run as one fused pass (engines `cpu` and `triton`). Everything else, second derivatives included, runs as PyTorch
operations (engine `torch`). In a graph of `torch.compile` on a CPU a pass is an operator that runs the same loops, if it has 65,536 numbers (elementwise losses: 4,194,304)
or its sizes may vary; smaller ones are PyTorch operations, which the compiler fuses with their neighbours. `use_engine("cpu")` and `use_engine("torch")` decide otherwise. The results agree up to rounding. `losskit.engine_for` says which engine would run and why; `losskit.use_engine` forces one. The fused
engines give the same bits in every run and for any number of threads.

>>> losskit.engine_for(losskit.mse_loss, t, t).engine
'cpu'
"""
