"""The pages of click-to-dial: for visitors, for staff, and for the admins who manage links."""
