-- How long the people of a call in progress have talked, so that a restart knows it. schema.sql tells what is in it.
ALTER TABLE counter_live ADD COLUMN talks TEXT NOT NULL DEFAULT '';
