// Dates in the one textual form the gateway sends: ISO 8601 in UTC with milliseconds.

/// Formatting of times.
public enum Timestamp {
    /// `2031-05-06T07:08:09.123Z` for milliseconds since 1970. Years beyond 9999 or before 0 get the signed six digit
    /// form of ECMA-262 (section 21.4.1.32), as the clients' own clock would write them.
    public static func iso8601(milliseconds: Int64) -> String {
        let dayMilliseconds: Int64 = 86_400_000
        var days = milliseconds / dayMilliseconds
        var rest = milliseconds % dayMilliseconds
        if rest < 0 {
            rest += dayMilliseconds
            days -= 1
        }
        let (year, month, day) = civil(days: days)
        let yearText: String
        if (0...9999).contains(year) {
            yearText = pad(year, 4)
        } else {
            yearText = (year < 0 ? "-" : "+") + pad(abs(year), 6)
        }
        let seconds = rest / 1000
        return "\(yearText)-\(pad(month, 2))-\(pad(day, 2))T\(pad(seconds / 3600, 2)):\(pad(seconds / 60 % 60, 2)):"
            + "\(pad(seconds % 60, 2)).\(pad(rest % 1000, 3))Z"
    }

    /// `2031-05-06T07:08:09.123456Z` (RFC 3339) for microseconds since 1970, not before.
    public static func rfc3339(microseconds: Int64) -> String {
        let text = iso8601(milliseconds: microseconds / 1000)
        return text.dropLast() + pad(microseconds % 1000, 3) + "Z"
    }

    /// The proleptic Gregorian date of a day counted from 1970-01-01. Years start in March here, so that the leap day
    /// is the last of its year and the lengths of the months follow one linear formula.
    private static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let eraDays: Int64 = 146_097  // 400 years
        let shifted = days + 719_468  // 0000-03-01
        let era = (shifted >= 0 ? shifted : shifted - (eraDays - 1)) / eraDays
        let dayOfEra = shifted - era * eraDays
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    private static func pad(_ number: Int64, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}
