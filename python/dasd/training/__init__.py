"""What trainers share: rows and packs, batches, loss, model, schedule, curve and export.

Trainers that are plugins take these through ``dasd.api.training``. ``plan`` and ``step`` import no
torch.
"""
