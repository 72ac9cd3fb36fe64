"""Labels that others define, against all subsets of what may go."""

import itertools

import numpy as np
import pytest

from prunejax.network.labels import Labels


def goes(labels, bases, *axes):
    """For each subset of bases what goes of some axes: rows of bools."""
    rows = []
    for chosen in itertools.product((False, True), repeat=len(bases)):
        removed = np.zeros(len(labels), bool)
        removed[labels.find(bases[np.asarray(chosen, bool)])] = True
        gone = labels.spread(removed)
        rows.append([gone[axis] for axis in axes])
    return rows


def cut(labels, axis, *sizes):
    """Labels of the axes that an axis is cut into."""
    made = [labels.make(size) for size in sizes]
    places = np.unravel_index(np.arange(len(axis)), sizes)
    labels.define(axis, [each[place] for each, place in zip(made, places, strict=True)])
    return made


def bases_of(labels, *axes):
    labels.settle()
    return np.unique(np.concatenate([labels.bases(axis)[1] for axis in axes]))


def test_a_channel_goes_with_its_head_or_its_place():
    labels = Labels()
    axis = labels.make(6)
    heads, places = cut(labels, axis, 2, 3)
    bases = bases_of(labels, axis)
    assert len(bases) == 5
    for channels, head, place in goes(labels, bases, axis, heads, places):
        assert channels.tolist() == (head[:, None] | place).ravel().tolist()


def test_heads_in_groups_are_those_of_all_heads():
    """Cut once as 4 heads of 3, once as 2 groups of 2 heads of 3."""
    labels = Labels()
    axis = labels.make(12)
    heads, places = cut(labels, axis, 4, 3)
    groups, inside, widths = cut(labels, axis, 2, 2, 3)
    bases = bases_of(labels, axis)
    assert len(bases) == 2 + 2 + 3
    for channels, head, place, group, part, width in goes(
        labels, bases, axis, heads, places, groups, inside, widths
    ):
        assert head.tolist() == (group[:, None] | part).ravel().tolist()
        assert place.tolist() == width.tolist()
        assert channels.tolist() == (head[:, None] | place).ravel().tolist()


@pytest.mark.parametrize("sizes", [((2, 6), (4, 3)), ((3, 4), (2, 6)), ((2, 2, 3), (3, 4))])
def test_two_cuts_agree_whatever_goes(sizes):
    labels = Labels()
    axis = labels.make(12)
    cuts = [cut(labels, axis, *each) for each in sizes]
    bases = bases_of(labels, axis)
    bases = bases[labels.removable(bases)]
    for channels, *parts in goes(labels, bases, axis, *cuts[0], *cuts[1]):
        first, second = parts[: len(cuts[0])], parts[len(cuts[0]) :]
        for each, lengths in ((first, sizes[0]), (second, sizes[1])):
            whole = np.zeros(lengths, bool)
            for place, gone in enumerate(each):
                whole |= gone.reshape([-1 if place == axis else 1 for axis in range(len(lengths))])
            assert channels.tolist() == whole.ravel().tolist()


def test_two_groups_side_by_side_keep_their_own_heads():
    """Eight channels in 2 heads of 4 beside eight others: cut as two halves, all stay free."""
    labels = Labels()
    own, others = labels.make(8), labels.make(8)
    cut(labels, own, 2, 4)
    cut(labels, np.concatenate([others, own]), 2, 8)
    bases = bases_of(labels, own)
    assert labels.removable(bases).sum() == 2 + 4
    assert labels.bases(own)[1].tolist() != labels.bases(others)[1].tolist()


def test_what_must_stay_keeps_all_its_parts():
    labels = Labels()
    axis = labels.make(6)
    heads, places = cut(labels, axis, 2, 3)
    labels.freeze(axis[:1], "is needed")
    labels.settle()
    assert labels.removable(heads).tolist() == [False, True]
    assert labels.removable(places).tolist() == [False, True, True]
    assert labels.removable(axis).tolist() == [False, True, True, True, True, True]
    labels.freeze(heads, "are needed")
    labels.freeze(places, "are needed")
    labels.settle()
    assert not labels.free(axis)
    assert labels.causes[labels.reasons(axis)[5]].why == "are needed"


def test_allowed_bases_remove_nothing_else():
    """Of all sets of channels those may go that heads and places make; others make less go."""
    labels = Labels()
    axis = labels.make(6)
    cut(labels, axis, 2, 3)
    labels.settle()
    for wanted in itertools.product((False, True), repeat=6):
        gone = np.zeros(len(labels), bool)
        gone[labels.find(axis)] = wanted
        gone = gone[labels.find(np.arange(len(labels)))]
        reached = labels.spread(labels.allowed(gone))[axis]
        table = np.asarray(wanted).reshape(2, 3)
        best = (table.all(1)[:, None] | table.all(0)).ravel()
        assert reached.tolist() == best.tolist()


def test_a_label_takes_over_several_definitions():
    labels = Labels()
    plain, first, second = (labels.make(2) for _ in range(3))
    parts = [labels.make(2) for _ in range(4)]
    labels.define(first, parts[:2])
    labels.define(second, parts[2:])
    labels.union(np.concatenate([plain, plain]), np.concatenate([first, second]))
    bases = bases_of(labels, plain)
    for one, other, *pieces in goes(labels, bases, first, second, *parts):
        assert one.tolist() == other.tolist()
        assert one.tolist() == (pieces[0] | pieces[1]).tolist()
        assert one.tolist() == (pieces[2] | pieces[3]).tolist()


def test_heads_that_are_tied_to_heads_of_their_own():
    """Each head is multiplied by one of two of them: definitions that hold themselves."""
    labels = Labels()
    axis = labels.make(24)
    heads, _ = cut(labels, axis, 4, 6)
    copies = labels.make(4)
    labels.define(copies, [heads[[0, 0, 2, 2]], labels.make(2)[[0, 1, 0, 1]]])
    labels.union(heads, copies)
    bases = bases_of(labels, axis)
    for channels, head in goes(labels, bases, axis, heads):
        assert head[0] <= head[1]
        assert head[2] <= head[3]
        assert np.all(channels.reshape(4, 6) | ~head[:, None])


def test_a_definition_by_itself_ties_all():
    labels = Labels()
    axis, other = labels.make(3), labels.make(3)
    labels.define(axis, [axis, other])
    labels.settle()
    assert labels.find(axis).tolist() == labels.find(other).tolist()


def test_a_union_is_the_same_as_one_by_one():
    random = np.random.default_rng(0)
    for _ in range(50):
        labels = Labels()
        labels.make(30)
        pairs = random.integers(1, 31, (2, 25))
        labels.union(*pairs)
        sets = [{label} for label in range(31)]
        for first, second in pairs.T.tolist():
            joined = sets[first] | sets[second]
            for label in joined:
                sets[label] = joined
        roots = labels.find(np.arange(31))
        assert [min(each) for each in sets] == roots.tolist()
