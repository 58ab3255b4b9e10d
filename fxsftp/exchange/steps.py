"""Steps: one event in the life of a delivery, by the table in domain/lifecycle."""

from __future__ import annotations

from fxsftp.domain import lifecycle
from fxsftp.store.registry import Registry


def step(registry: Registry, delivery_id: int, event: str, now: float, **columns: float | None) -> bool:
    """Take one step of a delivery, if its table has it, and record who took it; answers whether it was taken."""
    delivery = registry.deliveries.find(delivery_id)
    if delivery is None or not any(
        step.event == event and delivery.state in step.states for step in lifecycle.DELIVERIES
    ):
        return False
    state = lifecycle.after(lifecycle.DELIVERIES, delivery.state, event)
    if not registry.deliveries.step(delivery, state, **columns):
        return False
    user = registry.people.by_id(delivery.user_id)
    assert user is not None
    registry.record.tell(now, user.email, state.value, shipment_id=delivery.shipment_id)
    return True
