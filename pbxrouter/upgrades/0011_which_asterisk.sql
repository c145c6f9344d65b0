-- Which Asterisk a call came from, by its name in the settings; '' for calls of earlier versions, and if it is not known.
ALTER TABLE calls ADD COLUMN asterisk TEXT NOT NULL DEFAULT '';
CREATE INDEX calls_by_asterisk ON calls (asterisk, began) WHERE asterisk <> '';
